"""A state as the fields of the customer's hash, in Feast's bytes, ready to be sent."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Final

from feature_repo import contract, exact, naming, value_codec, wire
from feature_repo.online_codec import feature_field, time_field
from feature_repo.stream.online_fold import PROFILE_AT
from feature_repo.stream.online_state import (
    SUMS,
    TIMES,
    TOTAL_UNITS,
    UNITS,
    StreamState,
)

COLUMNS: Final = PROFILE_AT + len(naming.CUSTOMER_PROFILE)
"""Columns of both views, numbered through."""

ACTIVITY_TIME: Final = time_field(contract.ACTIVITY)
PROFILE_TIME: Final = time_field(contract.CUSTOMER_PROFILE)

FIELDS: Final = (
    *(feature_field(contract.ACTIVITY, name) for name in naming.ACTIVITY),
    *(feature_field(contract.CUSTOMER_PROFILE, name) for name in naming.CUSTOMER_PROFILE),
)
"""The field of each column."""

_NUMBER_HEADS: Final = tuple(wire.bulk(field) + b"$9\r\n\x29" for field in FIELDS)
_ACTIVITY_HEAD: Final = wire.bulk(ACTIVITY_TIME)
_PROFILE_HEAD: Final = wire.bulk(PROFILE_TIME)
_TEXT_HEADS: Final = tuple(map(wire.bulk, FIELDS))
_TIMES_AT: Final = len(SUMS)
_TOTALS_AT: Final = _TIMES_AT + len(TIMES)
_SUBSCRIBED: Final = PROFILE_AT + naming.CUSTOMER_PROFILE.index("is_subscribed")
_SECOND_US: Final = 1_000_000
_double: Final = struct.Struct("<d").pack


def values(state: StreamState, columns: Iterable[int]) -> list[bytes]:
    """Field and value of each of these columns that has one, as RESP."""
    parts = []
    for column in columns:
        held = value(state, column)
        if held is None:
            continue
        if isinstance(held, str):
            parts.append(_TEXT_HEADS[column] + wire.bulk(value_codec.string(held)))
        else:
            parts.append(b"%b%b\r\n" % (_NUMBER_HEADS[column], _double(held)))
    return parts


def without_value(state: StreamState) -> list[bytes]:
    """Fields that must not be there: of columns without a value and of views without a row."""
    gone = [FIELDS[i] for i in range(COLUMNS) if value(state, i) is None]
    if not state.counted:
        gone.append(ACTIVITY_TIME)
    if not state.heard:
        gone.append(PROFILE_TIME)
    return gone


def times(state: StreamState) -> list[bytes]:
    """Field and value of the knowledge time of each view that has a row, as RESP."""
    known = wire.bulk(value_codec.micros(state.known))
    views = ((state.counted, _ACTIVITY_HEAD), (state.heard, _PROFILE_HEAD))
    return [head + known for has_row, head in views if has_row]


def value(state: StreamState, column: int) -> float | str | None:
    """What the stores hold of a column, None for nothing."""
    if column >= PROFILE_AT:
        if not state.heard:
            return None
        told = state.profile[column - PROFILE_AT]
        # As offline: who never said anything about it is a subscribed customer.
        return told[0] if told else 1.0 if column == _SUBSCRIBED else None
    if not state.counted:
        return None
    if column >= _TOTALS_AT:
        place = column - _TOTALS_AT
        return state.totals[place] / TOTAL_UNITS[place]
    if column >= _TIMES_AT:
        time = state.times[column - _TIMES_AT]
        return None if time is None else time / _SECOND_US
    held = exact.unpack(state.mantissas[column]), state.exponents[column]
    log2 = exact.log2(held, UNITS[column])
    return log2 if math.isfinite(log2) else None
