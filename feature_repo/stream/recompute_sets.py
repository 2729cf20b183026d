"""Sets in Redis that someone fills and someone else works off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis


@contextmanager
def taken(client: redis.Redis, key: str) -> Iterator[list[str]]:
    """The members of a set, which loses them if and when the block ends well.

    What is added in the meantime stays; what a killed block had taken comes again.
    """
    aside = f"{key}:taken"
    with client.pipeline() as pipe:
        pipe.sunionstore(aside, [key, aside])
        pipe.delete(key)
        pipe.smembers(aside)
        members = pipe.execute()[-1]
    yield [member.decode() for member in members]
    client.delete(aside)
