"""A customer's state in the stream, kept in the field `_stream` of the customer's own hash.

It is all that a fold needs: exact sums, times, totals, who stated which profile value when, and
which rows were seen. The bytes depend on the rows alone, not on their order, but for the first
eight (a token, new with every write), the knowledge times and `pruned`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final
from zlib import crc32

import msgspec
import numpy as np

from feature_repo import exact, naming
from feature_repo.event import MICROS
from feature_repo.online_codec import Floats, Texts

TOKEN_BYTES: Final = 8

_VERSION: Final = crc32(repr((1, naming.ACTIVITY, naming.CUSTOMER_PROFILE)).encode())
"""Changes with the columns, whose places the lists of a state follow."""

_SECOND_US: Final = 1_000_000

SUMS: Final = tuple(name for name in naming.ACTIVITY if "_log2_" in name)
TIMES: Final = tuple(name for name in naming.ACTIVITY if name.endswith("_at"))
TOTALS: Final = tuple(name for name in naming.ACTIVITY if name.endswith("_total"))
"""Columns of the `activity` view by how they are kept; the state has a list for each."""

UNITS: Final = tuple(MICROS if name.startswith("revenue_") else 1 for name in SUMS)
"""What each sum is counted in."""

TOTAL_UNITS: Final = tuple(MICROS if measure.money else 1 for measure in naming.TOTALS)
"""What each total is counted in."""

Stated = tuple[str | float, int, bytes]
"""A profile value, and time (microseconds) and tie-breaker of the event that stated it."""


class StreamState(msgspec.Struct, array_like=True):
    """What is known of one customer. Times are microseconds since the Unix epoch."""

    version: int
    #: Whether the customer has a row of `activity`: a counted event was known at some time.
    counted: bool
    #: Whether the customer has a row of `customer_profile`: any event was known at some time.
    heard: bool
    #: Canonical sums, see `exact`: packed mantissas, then exponents.
    mantissas: list[bytes]
    exponents: list[int]
    times: list[int | None]
    totals: list[int]
    #: By place in naming.CUSTOMER_PROFILE.
    profile: list[Stated | None]
    #: See `online_recent`.
    recent: bytes
    #: Rows that were not folded; the customer is owed as long as there are any.
    waiting: bytes
    #: Greatest event_time that `recent` had to let go. What happened up to then may be known.
    horizon: int | None
    #: Knowledge time of the loaded row this state began from. What was received up to then may be
    #: in it. None: it began from nothing, or all of it was read from the log.
    base: int | None
    #: Newest received_time among the rows taken in.
    known: int
    #: When `recent` last let a row go that was not read from the log.
    pruned: int | None


def empty() -> StreamState:
    """The state of a customer of whom nothing was heard."""
    return StreamState(
        version=_VERSION,
        counted=False,
        heard=False,
        mantissas=[b""] * len(SUMS),
        exponents=[0] * len(SUMS),
        times=[None] * len(TIMES),
        totals=[0] * len(TOTALS),
        profile=[None] * len(naming.CUSTOMER_PROFILE),
        recent=b"",
        waiting=b"",
        horizon=None,
        base=None,
        known=0,
        pruned=None,
    )


def from_loaded(
    columns: Mapping[str, Floats | Texts], row: int, counted_at: float, heard_at: float
) -> StreamState:
    """The state that a loaded row stands for; knowledge times in seconds, NaN without a row.

    Who stated a profile value is not in it: as good as the customer's newest event.
    """
    state = empty()
    state.counted, state.heard = not np.isnan(counted_at), not np.isnan(heard_at)
    for i, name in enumerate(SUMS):
        value = exact.canonical(exact.from_log2(float(columns[name][row]), UNITS[i]))
        state.mantissas[i], state.exponents[i] = exact.pack(value[0]), value[1]
    for i, name in enumerate(TIMES):
        seconds = float(columns[name][row])
        state.times[i] = None if np.isnan(seconds) else round(seconds * _SECOND_US)
    for i, name in enumerate(TOTALS):
        state.totals[i] = round(float(np.nan_to_num(columns[name][row])) * TOTAL_UNITS[i])
    state.base = state.known = round(float(np.nanmax([counted_at, heard_at])) * _SECOND_US)
    newest = state.times[TIMES.index("last_event_at")]
    for i, name in enumerate(naming.CUSTOMER_PROFILE):
        value = columns[name][row]
        if value is not None and value == value:  # not NaN
            plain = value if isinstance(value, str) else float(value)
            state.profile[i] = (plain, state.base if newest is None else newest, b"")
    return state


def encode(state: StreamState) -> bytes:
    """The bytes of the field, under a new token."""
    return os.urandom(TOKEN_BYTES) + _encoder.encode(state)


def decode(data: bytes) -> StreamState | None:
    """The state in the bytes of a field; None when they are none of this version."""
    try:
        state = _decoder.decode(memoryview(data)[TOKEN_BYTES:])
    except msgspec.MsgspecError:
        return None
    return state if state.version == _VERSION else None


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(StreamState)
