"""What the router remembers of each customer, in Redis: what it told last, and what it owes.

A message is *intended* before it is published: one script compares what the message was computed
from and writes the new memory with the message in it. Only then is it published, and then settled.
A router that dies in between leaves the message in the memory, and whoever comes next publishes
the same bytes. Two routers that have the same customer in hand cannot both intend: one of them
has lost, and computes anew.

Answers to requests stay as long as they are worth acting on: a request that comes a second time,
however late, gets the same bytes, and is no second send.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

import msgspec
import redis

from feature_repo import online
from feature_repo.stream.score_streams import answered_key, routed_key

_DAY_S: Final = 86_400
_AHEAD_DAYS: Final = 31
"""A send may be said for so many days ahead."""

_REMEMBERED_DAYS: Final = 180
"""For so long it is remembered what was told of a customer whom nobody asks about."""

_INTEND: Final = """
-- KEYS: memory, index of answers, answers... ARGV: memory compared with ('' for none), new memory,
-- seconds to keep it, now, seconds to keep answers, answers. Returns whether it was written.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
if #KEYS > 2 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[4])
  for i = 3, #KEYS do
    redis.call('SET', KEYS[i], ARGV[i + 3], 'EX', ARGV[5])
    redis.call('ZADD', KEYS[2], ARGV[4] + ARGV[5], KEYS[i])
  end
  redis.call('EXPIRE', KEYS[2], ARGV[5])
end
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
    #: Whether the feature store knows the customer: what is not known is not remembered for long.
    is_known: bool = True


class Book:
    """The memories of one installation. One per thread.

    `clock` tells when an answer ends, `answer_s` after it was intended; `cap_days` is how far back
    sends are looked at.
    """

    def __init__(
        self,
        client: redis.Redis,
        project: str,
        *,
        clock: Callable[[], datetime],
        answer_s: float,
        cap_days: int,
    ) -> None:
        self._client = client
        self._project = project
        self._clock = clock
        self._answer_s = max(1, round(answer_s))
        self._unknown_s = (cap_days + _AHEAD_DAYS) * _DAY_S
        self._known_s = max(self._unknown_s, _REMEMBERED_DAYS * _DAY_S)
        self._intend = client.register_script(_INTEND)

    def answer_key(self, customer_id: str, target: str, request_id: str) -> str:
        """Key of the answer to a request."""
        identity = msgspec.json.encode((customer_id, target, request_id))
        return f"foresend:{self._project}:answer:{hashlib.sha256(identity).hexdigest()}"

    def read(self, customers: Sequence[str]) -> dict[str, Held]:
        """What is remembered of each customer."""
        if not customers:
            return {}
        with online.answers():
            return read_memories(self._client, self._project, customers)

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
        now = int(self._clock().timestamp())
        encoded = [_encoder.encode(one.memory) for one in intents]
        with online.answers(), self._client.pipeline(transaction=False) as pipe:
            for one, raw in zip(intents, encoded, strict=True):
                own = [f(self._project, one.customer_id) for f in (routed_key, answered_key)]
                keep_s = self._known_s if one.is_known else self._unknown_s
                arguments: list[Any] = [one.held.raw, raw, keep_s, now, self._answer_s]
                arguments += one.answers.values()
                self._intend(keys=[*own, *one.answers], args=arguments, client=pipe)
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


def read_memories(client: redis.Redis, project: str, customers: Sequence[str]) -> dict[str, Held]:
    """What is remembered of each customer, of whom there is one at least."""
    keys = [routed_key(project, one) for one in customers]
    found = cast("list[bytes | None]", client.mget(keys))
    return {
        one: Held(_decoder.decode(raw) if raw else Memory(), raw or b"")
        for one, raw in zip(customers, found, strict=True)
    }


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Memory)
