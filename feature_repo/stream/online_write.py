"""Read and write customers' states, many at once: raw commands, one buffer each way.

A write is one script per customer: it compares what the state was computed from, then sets the
fields that changed, the state itself and what the customer is owed, in one piece. While routing is
switched on, another script also notes in that piece that the customer is to be scored anew; while
it is off, not a byte of a write is different.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import redis

from feature_repo import online, wire
from feature_repo.online_codec import STREAM_FIELD, Layout
from feature_repo.stream import online_fields, score_streams
from feature_repo.stream.online_epoch import epoch_key, owed_key
from feature_repo.stream.online_parts import parts
from feature_repo.stream.online_state import TOKEN_BYTES, StreamState, encode

_SWAP: Final = b"""
-- KEYS: hash, customers owed, epoch. ARGV: token of the state, knowledge time of activity, that of
-- the profile, epoch ('' for any); 'owe', 'paid' or ''; customer, since; number of fields to
-- delete, these fields; fields and values to set. Returns whether it was written.
local held = redis.call('HMGET', KEYS[1], '_stream', '_ts:activity', '_ts:customer_profile')
local token = held[1] and string.sub(held[1], 1, 8) or ''
if token ~= ARGV[1] or (held[2] or '') ~= ARGV[2] or (held[3] or '') ~= ARGV[3] then return 0 end
if ARGV[4] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[4] then return 0 end
local first = 9 + tonumber(ARGV[8])
redis.call('HSET', KEYS[1], unpack(ARGV, first))
if first > 9 then redis.call('HDEL', KEYS[1], unpack(ARGV, 9, first - 1)) end
if ARGV[5] == 'owe' then redis.call('ZADD', KEYS[2], 'NX', ARGV[7], ARGV[6]) end
if ARGV[5] == 'paid' then redis.call('ZREM', KEYS[2], ARGV[6]) end
return 1
"""

_NOTE: Final = b"""
-- KEYS[4]: customers changed. Their score is when the first change came that was not scored yet.
redis.call('ZADD', KEYS[4], 'NX', ARGV[7], ARGV[6])
return 1
"""


@dataclass(frozen=True, slots=True)
class _Script:
    """A script and how it is called."""

    load: bytes
    call: bytes
    #: Parts of the command up to and with the number of fields to delete.
    parts: int


def _script(text: bytes, keys: int) -> _Script:
    digest = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    return _Script(
        load=b"*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n" + wire.bulk(text),
        call=wire.bulk(b"EVALSHA") + wire.bulk(digest) + wire.bulk(b"%d" % keys),
        parts=3 + keys + 8,
    )


_PLAIN: Final = _script(_SWAP, 3)
_NOTING: Final = _script(_SWAP.removesuffix(b"return 1\n") + _NOTE, 4)

_SLICE: Final = 32
"""Customers whose commands are sent together."""

_READ: Final = b"*5\r\n" + wire.bulk(b"HMGET")
_READ_FIELDS: Final = b"".join(
    map(wire.bulk, (STREAM_FIELD, online_fields.ACTIVITY_TIME, online_fields.PROFILE_TIME))
)
_STATE_HEAD: Final = wire.bulk(STREAM_FIELD)
_NOTHING: Final = wire.bulk(b"")
_OWE: Final = wire.bulk(b"owe")
_PAID: Final = wire.bulk(b"paid")
_NO_DELETES: Final = wire.bulk(b"0")


@dataclass(frozen=True, slots=True)
class Held:
    """What Redis has of a customer, and what a write compares."""

    #: Bytes of the state; None when there is none.
    state: bytes | None
    activity_time: bytes | None
    profile_time: bytes | None

    @property
    def is_loaded(self) -> bool:
        """Whether a view has a row of the customer."""
        return self.activity_time is not None or self.profile_time is not None


@dataclass(frozen=True, slots=True)
class Write:
    """A state on its way into Redis."""

    customer: str
    #: What it was computed from.
    held: Held
    state: StreamState
    #: Columns to write; None: all of both views, and nothing else stays.
    columns: Sequence[int] | None
    #: True: the customer is owed from now on; False: no longer; None: as before.
    owed: bool | None


class StateStore:
    """The states in one Redis."""

    def __init__(self, client: redis.Redis, layout: Layout) -> None:
        self._client = client
        self._layout = layout
        epoch = wire.bulk(epoch_key(layout.project).encode())
        switch = wire.bulk(score_streams.switch_key(layout.project).encode())
        self._ask_notes = b"*3\r\n$4\r\nMGET\r\n" + epoch + switch
        self._other_keys = wire.bulk(owed_key(layout.project).encode()) + epoch
        self._changed = wire.bulk(score_streams.changed_key(layout.project).encode())
        #: Whether whoever is written is noted for the router, as of the last read.
        self._notes = False

    def read(self, customers: Sequence[str]) -> tuple[bytes | None, list[Held]]:
        """The bytes of the epoch note, and what is held of each customer."""
        buffer = self._ask_notes + b"".join(
            _READ + wire.bulk(key) + _READ_FIELDS for key in self._layout.keys(customers)
        )
        (epoch, switch), *replies = online.exchange(self._client, [(buffer, 1 + len(customers))])
        self._notes = switch is not None
        return epoch, [Held(*reply) for reply in replies]

    def write(self, writes: Iterable[Write], epoch: bytes, since: float) -> Mapping[str, bool]:
        """Write each state if Redis still holds what it was computed from; whether it did, by id.

        A state that begins is written only while the epoch note is the one given, too. `since` is
        from when on who is owed is owed, in epoch seconds. Redis works while `writes` are made.
        """
        customers: list[str] = []
        commands = self._commands(writes, epoch, repr(since).encode(), customers)
        replies = online.exchange(self._client, commands)
        return {c: reply == 1 for c, reply in zip(customers, replies[1:], strict=True)}

    def _commands(
        self, writes: Iterable[Write], epoch: bytes, since: bytes, customers: list[str]
    ) -> Iterator[tuple[bytes, int]]:
        """Buffers of commands, in the order of `customers`, which is filled on the way."""
        script, keys = _PLAIN, self._other_keys
        if self._notes:
            script, keys = _NOTING, self._other_keys + self._changed
        commands, more = [script.load], 1
        for part in parts(writes, _SLICE):
            for key, write in zip(self._layout.keys(w.customer for w in part), part, strict=True):
                customers.append(write.customer)
                names = script.call + wire.bulk(key) + keys
                count = script.parts
                self._add_command(commands, names, count, write, epoch, wire.bulk(since))
            yield b"".join(commands), len(part) + more
            commands, more = [], 0

    def _add_command(
        self,
        commands: list[bytes],
        names: bytes,
        count: int,
        write: Write,
        epoch: bytes,
        since: bytes,
    ) -> None:
        state, held = write.state, write.held
        deletes: list[bytes] = []
        if write.columns is None:
            deletes = online_fields.without_value(state)
        columns = range(online_fields.COLUMNS) if write.columns is None else write.columns
        values = online_fields.values(state, columns)
        times = online_fields.times(state)
        commands.append(
            b"*%d\r\n%b$%d\r\n%b\r\n%b%b%b%b"
            % (
                count + len(deletes) + 2 * (len(times) + 1 + len(values)),
                names,
                0 if held.state is None else TOKEN_BYTES,
                b"" if held.state is None else held.state[:TOKEN_BYTES],
                wire.bulk(held.activity_time or b""),
                wire.bulk(held.profile_time or b""),
                wire.bulk(epoch) if held.state is None else _NOTHING,
                _NOTHING if write.owed is None else _OWE if write.owed else _PAID,
            )
        )
        commands += (
            wire.bulk(write.customer.encode())
            if self._notes or write.owed is not None
            else _NOTHING,
            since,
            wire.bulk(b"%d" % len(deletes)) if deletes else _NO_DELETES,
            *map(wire.bulk, deletes),
            *times,
            _STATE_HEAD,
            wire.bulk(encode(state)),
            *values,
        )
