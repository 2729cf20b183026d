"""What the router remembers of each customer, in Redis: what it told last, and what it owes.

A message is *intended* before it is published: one script compares what the message was computed
from and writes the new memory with the message in it. Only then is it published, and then settled.
A router that dies in between leaves the message in the memory, and whoever comes next publishes
the same bytes. Two routers that have the same customer in hand cannot both intend: one of them
has lost, and computes anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

import msgspec
import redis

from feature_repo import online
from feature_repo.stream.score_streams import routed_key

ANSWER_TTL_S: Final = 24 * 3600
"""How long an intended answer waits for the router to come back."""

_INTEND: Final = """
-- KEYS: memory, answers... ARGV: memory compared with ('' for none), new memory, seconds to keep
-- answers, answers. Returns whether it was written.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 2], 'EX', ARGV[3]) end
return 1
"""


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What was told of a customer's score for a target last."""

    score: float
    tier: str | None


class Memory(msgspec.Struct, frozen=True, array_like=True):
    """Of one customer."""

    #: Of the newest message about the customer, whatever its target.
    seq: int = 0
    #: Epoch seconds of the times that `send` was said, ascending; as far back as a cap reaches.
    sends: tuple[float, ...] = ()
    told: dict[str, Told] = {}
    #: Messages of `score.changed` that are intended and may not have been published.
    owed: tuple[bytes, ...] = ()

    def next_seq(self, now: datetime) -> int:
        """Rises, also past what a Redis that lost its last second, or everything, forgot."""
        return max(self.seq + 1, int(now.timestamp() * 1000))


@dataclass(frozen=True, slots=True)
class Held:
    """A memory, and the bytes it was read from."""

    memory: Memory
    raw: bytes


@dataclass(frozen=True, slots=True)
class Intent:
    """A new memory on its way into Redis."""

    customer_id: str
    held: Held
    memory: Memory
    #: Messages of `score.results` by the key of `answer_key`.
    answers: Mapping[str, bytes]


class Book:
    """The memories of one installation. One per thread."""

    def __init__(self, client: redis.Redis, project: str) -> None:
        self._client = client
        self._project = project
        self._intend = client.register_script(_INTEND)

    def answer_key(self, customer_id: str, target: str, request_id: str) -> str:
        """Key of an answer that was intended and not confirmed yet."""
        identity = msgspec.json.encode((customer_id, target, request_id))
        return f"foresend:{self._project}:answer:{hashlib.sha256(identity).hexdigest()}"

    def read(self, customers: Sequence[str]) -> dict[str, Held]:
        """What is remembered of each customer."""
        if not customers:
            return {}
        with online.answers():
            keys = [routed_key(self._project, one) for one in customers]
            found = cast("list[bytes | None]", self._client.mget(keys))
        return {
            one: Held(_decoder.decode(raw) if raw else Memory(), raw or b"")
            for one, raw in zip(customers, found, strict=True)
        }

    def answers(self, keys: Sequence[str]) -> list[bytes | None]:
        """Answers that were intended before, as they were."""
        if not keys:
            return []
        with online.answers():
            return cast("list[bytes | None]", self._client.mget(keys))

    def intend(self, intents: Sequence[Intent]) -> dict[str, Held | None]:
        """Write memories that nobody changed since; what is held then, None for who lost."""
        if not intents:
            return {}
        encoded = [_encoder.encode(one.memory) for one in intents]
        with online.answers(), self._client.pipeline(transaction=False) as pipe:
            for one, raw in zip(intents, encoded, strict=True):
                keys = [routed_key(self._project, one.customer_id), *one.answers]
                arguments: list[Any] = [one.held.raw, raw, ANSWER_TTL_S, *one.answers.values()]
                self._intend(keys=keys, args=arguments, client=pipe)
            written = pipe.execute()
        return {
            one.customer_id: Held(one.memory, raw) if done else None
            for one, raw, done in zip(intents, encoded, written, strict=True)
        }

    def settle(self, published: Mapping[str, Held]) -> set[str]:
        """What the customers were owed is published; those whose memory changed meanwhile, and
        stays as it is."""
        paid = {
            customer: msgspec.structs.replace(held.memory, owed=())
            for customer, held in published.items()
        }
        intents = [Intent(one, published[one], memory, {}) for one, memory in paid.items()]
        return {customer for customer, done in self.intend(intents).items() if done is None}

    def confirm(self, keys: Sequence[str]) -> None:
        """The requests of these answers are acknowledged."""
        if not keys:
            return
        with online.answers():
            self._client.delete(*keys)


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Memory)
