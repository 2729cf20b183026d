"""The streams of scoring by queue, and the keys in Redis of what routing remembers.

They are named here, below the router, because whoever writes features notes who was changed, and
whoever erases a customer must know all the places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, cast

import redis

from feature_repo.errors import ConfigError
from feature_repo.stream.online_parts import parts
from feature_repo.stream.port import EVENTS, Stream
from feature_repo.targets import suggestion

ROUTER: Final = "router"
"""Consumer group that answers requests."""

KEEP_S: Final = 24 * 3600.0
"""How long answers are kept for readers, unless the installation says otherwise."""

SCORE_REQUESTS: Final = Stream("score.requests", (ROUTER,))
SCORE_RESULTS: Final = Stream("score.results", keep_s=KEEP_S)
SCORE_CHANGED: Final = Stream("score.changed", keep_s=KEEP_S)
SCORE_STREAMS: Final = (SCORE_REQUESTS, SCORE_RESULTS, SCORE_CHANGED)

_CHUNK: Final = 5_000


def stream_named(name: str) -> Stream:
    """The stream of that name, that of events too.

    Raises:
        ConfigError: there is none.
    """
    known = {stream.name: stream for stream in (EVENTS, *SCORE_STREAMS)}
    if name not in known:
        message = f"No stream is called {name!r}{suggestion(name, known)}; use {', '.join(known)}."
        raise ConfigError(message)
    return known[name]


def switch_key(project: str) -> str:
    """Key that exists while changes of features are to be noted."""
    return f"foresend:{project}:routing:on"


def changed_key(project: str) -> str:
    """Key of the sorted set of customers that the stream or a correction changed, by the epoch
    seconds of the first change that was not scored yet."""
    return f"foresend:{project}:routing:changed"


def loaded_key(project: str) -> str:
    """As `changed_key`, of customers that a load wrote: they come after the others."""
    return f"foresend:{project}:routing:loaded"


def leased_key(project: str) -> str:
    """Key of the sorted set of customers that a router has in hand, by the end of its lease."""
    return f"foresend:{project}:routing:leased"


def since_key(project: str) -> str:
    """Key of the hash that tells since when each leased customer has been waiting."""
    return f"foresend:{project}:routing:since"


def routed_key(project: str, customer_id: str) -> str:
    """Key of what was told about a customer last."""
    return f"foresend:{project}:routed:{customer_id}"


def answered_key(project: str, customer_id: str) -> str:
    """Key of the sorted set of the keys of answers about a customer, by when they end."""
    return f"foresend:{project}:answered:{customer_id}"


def is_noting(client: redis.Redis, project: str) -> bool:
    """Whether changes of features are to be noted."""
    return bool(client.exists(switch_key(project)))


def note_changed(
    client: redis.Redis, project: str, customers: Iterable[str], now: datetime
) -> None:
    """Have the customers scored again, if changes are noted at all."""
    _note(client, project, changed_key(project), customers, now)


def note_loaded(client: redis.Redis, project: str, customers: Iterable[str], now: datetime) -> None:
    """As `note_changed`, when there is nothing more urgent."""
    _note(client, project, loaded_key(project), customers, now)


def forget(client: redis.Redis, project: str, customers: Sequence[str]) -> int:
    """Delete what is noted and remembered about the customers; how much there was."""
    gone = int(cast("int", client.delete(*_own_keys(client, project, customers))))
    for key in (changed_key(project), loaded_key(project), leased_key(project)):
        gone += int(cast("int", client.zrem(key, *customers)))
    return gone + int(cast("int", client.hdel(since_key(project), *customers)))


def knows(client: redis.Redis, project: str, customers: Sequence[str]) -> bool:
    """Whether anything is noted or remembered about one of the customers."""
    if client.exists(*_own_keys(client, project, customers)):
        return True
    keys = (changed_key(project), loaded_key(project), leased_key(project))
    return any(client.zscore(key, one) is not None for key in keys for one in customers)


def _own_keys(client: redis.Redis, project: str, customers: Sequence[str]) -> list[str | bytes]:
    """Keys that hold something about one of the customers and nobody else."""
    keys: list[str | bytes] = []
    for one in customers:
        index = answered_key(project, one)
        keys += [routed_key(project, one), index]
        keys += cast("list[bytes]", client.zrange(index, 0, -1))
    return keys


def _note(
    client: redis.Redis, project: str, key: str, customers: Iterable[str], now: datetime
) -> None:
    if not is_noting(client, project):
        return
    for chunk in parts(customers, _CHUNK):
        client.zadd(key, dict.fromkeys(chunk, now.timestamp()), nx=True)
