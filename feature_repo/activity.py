"""Decayed counters: the one kernel that folds events into a customer's activity.

A counter of half-life h is stored as `L = log2(sum w * 2^(t/h))`, t in days since the Unix epoch.
Merging an event is `logaddexp2(L, t/h + log2 w)`, its value at T is `2^(L - T/h)`. Floating-point
sums depend on their order, so there is one: by received_time, then by place in the log. The
builder, the stream worker and `fold` all go through `fold_many`; equal order gives equal bits.

States are kept column by column: a float64 array with one row per name of `naming.ACTIVITY` and
one column per state, holding neutral elements (-inf, inf, 0.0) where nothing was counted and
money in millionths. `stored` turns them into what tables and Redis hold, `from_stored` back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_repo import naming
from feature_repo.event import HUMAN_MACHINES, MICROS, Event, EventType, amount_micros
from feature_repo.running import scan

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KERNEL_VERSION: Final = 1
"""Raised when the same events give other bits than before; every table is then built anew."""

KINDS: Final = tuple(dict.fromkeys(measure.kind for measure in naming.TOTALS))
"""Counted kinds; a term names its kind by the place in this tuple."""

HUMAN_KINDS: Final = frozenset(m.kind for m in naming.TOTALS if m.human)
"""Kinds of which only events made by a person count."""

NOT_COUNTED: Final = -1
"""Code of a term that changes nothing, and block of a term that is no engagement."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_US: Final = 1_000_000
_DAY_US: Final = 86_400 * _SECOND_US
_BLOCK_US: Final = _DAY_US // naming.BLOCKS

_ROW: Final = {name: row for row, name in enumerate(naming.ACTIVITY)}
_MONEY_ROWS: Final = [_ROW[naming.total(m.plural)] for m in naming.TOTALS if m.money]
_IN_MEASURES: Final = [measure.kind for measure in naming.MEASURES]
_ENGAGEMENT: Final = [KINDS.index(kind) for kind in naming.ENGAGEMENT]


def _neutral(name: str) -> float:
    if name.startswith("first_"):
        return np.inf
    return 0.0 if name.endswith("_total") else -np.inf


_NEUTRAL: Final = np.array([[_neutral(name)] for name in naming.ACTIVITY])


@dataclass(frozen=True, slots=True)
class Terms:
    """What events add, as columns of equal length in fold order."""

    #: Place in KINDS, or NOT_COUNTED.
    kind: Ints
    #: Event time in microseconds since the Unix epoch.
    time_us: Ints
    #: Amount in millionths, 0 without one.
    micros: Ints
    #: Customer's local time minus UTC, in minutes; 0 when unknown.
    offset_minutes: Ints


def kind_code(kind: EventType, *, human: bool) -> int:
    """Code of an event of this kind, NOT_COUNTED when it is none of the counted ones.

    >>> kind_code(EventType.SENT, human=False)
    0
    >>> kind_code(EventType.OPENED, human=False) == NOT_COUNTED
    True
    """
    if kind not in KINDS or (kind in HUMAN_KINDS and not human):
        return NOT_COUNTED
    return KINDS.index(kind)


def terms_of(events: Sequence[Event]) -> Terms:
    """The terms of events, in their order."""
    rows = [
        (
            kind_code(event.type, human=event.machine in HUMAN_MACHINES),
            micros_since_epoch(event.event_time),
            amount_micros(event.amount) or 0,
            event.utc_offset_minutes or 0,
        )
        for event in events
    ]
    return Terms(*np.array(rows, dtype=np.int64).reshape(-1, 4).T.copy())


def empty(count: int = 1) -> Floats:
    """States of customers of whom nothing is known.

    >>> empty(2).shape == (len(naming.ACTIVITY), 2)
    True
    """
    return np.repeat(_NEUTRAL, count, axis=1)


def fold(state: Floats, event: Event) -> Floats:
    """The state after one more event; `state` is not changed.

    >>> noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> click = Event(
    ...     event_id="1",
    ...     type=EventType.CLICKED,
    ...     customer_id="c",
    ...     event_time=noon,
    ...     received_time=noon,
    ... )
    >>> after = fold(fold(empty(), click), click)
    >>> float(column(after, "clicks_total")[0])
    2.0
    >>> float(value_at(column(after, "clicks_log2_d7"), 7, noon.timestamp() + 7 * 86_400)[0])
    1.0
    """
    only = np.zeros(1, dtype=np.int64)
    return fold_many(terms_of([event]), only, state, only)


def column(states: Floats, name: str) -> Floats:
    """One named value of each state.

    >>> float(column(empty(), "sends_total")[0])
    0.0
    """
    line: Floats = states[_ROW[name]]
    return line


def value_at(log2_state: Floats, half_life_days: int, at: npt.ArrayLike) -> Floats:
    """A decayed counter read at `at` (epoch seconds); 0.0 when nothing was counted.

    >>> value_at(np.array([-np.inf, np.nan]), 7, 0.0).tolist()
    [0.0, 0.0]
    """
    days = np.asarray(at, dtype=np.float64) / 86_400.0
    value: Floats = np.nan_to_num(np.exp2(log2_state - days / half_life_days), nan=0.0)
    return value


def stored(states: Floats) -> Floats:
    """States as tables and Redis hold them: NaN for never, money in units of the currency.

    >>> [float(stored(empty())[_ROW[name]][0]) for name in ("last_open_at", "opens_total")]
    [nan, 0.0]
    """
    values = np.where(np.isfinite(states), states, np.nan)
    values[_MONEY_ROWS] /= MICROS
    return values


def from_stored(values: Floats) -> Floats:
    """The inverse of `stored`, exact for money up to two thousand million units per customer.

    >>> bool((from_stored(stored(empty())) == empty()).all())
    True
    """
    states = np.where(np.isnan(values), _NEUTRAL, values)
    states[_MONEY_ROWS] = np.rint(states[_MONEY_ROWS] * MICROS)
    return states


def fold_many(terms: Terms, group: Ints, initial: Floats, rows: Ints) -> Floats:
    """Fold many histories at once; the states right after the terms numbered `rows`.

    `group` says which history each term continues: 0, 1, 2 ... in ascending order, history g
    starting from `initial[:, g]`. Order inside a history is the order of the terms.
    """
    states = initial[:, group[rows]]
    frame = _Frame(group, initial, rows, states)
    for ufunc, channels in (
        (np.logaddexp2, _counters(terms)),  # apart from blocks: of another number of lines
        (np.logaddexp2, _blocks(terms)),
        (np.maximum, _last_times(terms)),
        (np.minimum, _first_times(terms)),
    ):
        _scan_channels(ufunc, channels, frame)
    _add_totals(terms, frame)
    return states


@dataclass(frozen=True, slots=True)
class _Frame:
    """The arguments of `fold_many` and the states it is filling."""

    group: Ints
    initial: Floats
    rows: Ints
    states: Floats


@dataclass(frozen=True, slots=True)
class _Channel:
    """State rows that take in the same terms by the same operation."""

    state_rows: list[int]
    #: Numbers of the terms taken in, ascending.
    taken: Ints
    #: What each of them adds, one line per state row.
    values: Floats


def _counters(terms: Terms) -> list[_Channel]:
    half_lives = np.array(naming.HALF_LIVES_DAYS, dtype=np.float64)[:, None]
    channels = []
    for measure in naming.MEASURES:
        counts = terms.kind == KINDS.index(measure.kind)
        taken = np.flatnonzero(counts & (terms.micros > 0) if measure.money else counts)
        values = terms.time_us[taken] / _DAY_US / half_lives
        if measure.money:
            values += np.log2(terms.micros[taken] / MICROS)
        lines = [_ROW[naming.log2_state(measure.plural, h)] for h in naming.HALF_LIVES_DAYS]
        channels.append(_Channel(lines, taken, values))
    return channels


def _blocks(terms: Terms) -> list[_Channel]:
    local_us = terms.time_us + terms.offset_minutes * (60 * _SECOND_US)
    block = np.where(np.isin(terms.kind, _ENGAGEMENT), local_us % _DAY_US // _BLOCK_US, NOT_COUNTED)
    exponent = terms.time_us / _DAY_US / naming.BLOCK_HALF_LIFE_DAYS
    return [
        _Channel([_ROW[naming.block_state(number)]], taken, exponent[None, taken])
        for number in range(naming.BLOCKS)
        for taken in [np.flatnonzero(block == number)]
    ]


def _last_times(terms: Terms) -> list[_Channel]:
    kinds = {naming.last_at(measure.singular): [measure.kind] for measure in naming.LAST_AT}
    return [_times(terms, *item) for item in {**kinds, "last_event_at": _IN_MEASURES}.items()]


def _first_times(terms: Terms) -> list[_Channel]:
    kinds = {"first_event_at": _IN_MEASURES, "first_purchase_at": [EventType.PURCHASED]}
    return [_times(terms, *item) for item in kinds.items()]


def _times(terms: Terms, name: str, kinds: list[EventType]) -> _Channel:
    taken = np.flatnonzero(np.isin(terms.kind, [KINDS.index(kind) for kind in kinds]))
    return _Channel([_ROW[name]], taken, terms.time_us[None, taken] / _SECOND_US)


def _scan_channels(ufunc: np.ufunc, channels: list[_Channel], frame: _Frame) -> None:
    """Fold all channels in one pass and put what each asked-for row has come to into place."""
    keys = [frame.group[channel.taken] for channel in channels]
    starts = [np.flatnonzero(np.diff(key, prepend=-1)) for key in keys]
    ends = np.cumsum([0, *(key.size for key in keys)])
    running = scan(
        ufunc,
        np.concatenate([channel.values for channel in channels], axis=1),
        np.concatenate([start + end for start, end in zip(starts, ends, strict=False)]),
        np.concatenate(
            [
                frame.initial[channel.state_rows][:, key[start]]
                for channel, key, start in zip(channels, keys, starts, strict=True)
            ],
            axis=1,
        ),
    )
    asked = frame.group[frame.rows]
    for channel, key, end in zip(channels, keys, ends, strict=False):
        if not key.size:
            continue
        last = np.searchsorted(channel.taken, frame.rows, side="right") - 1
        reached = np.flatnonzero((last >= 0) & (key[last] == asked))
        source = end + last[reached]
        for line, state_row in enumerate(channel.state_rows):
            frame.states[state_row, reached] = running[line, source]


def _add_totals(terms: Terms, frame: _Frame) -> None:
    """Lifetime counts and sums; integers, hence exact in any order."""
    begin = np.searchsorted(frame.group, frame.group[frame.rows])
    for measure in naming.TOTALS:
        counts = terms.kind == KINDS.index(measure.kind)
        added = np.where(counts, terms.micros, 0) if measure.money else counts
        summed = np.concatenate([[0], np.cumsum(added, dtype=np.int64)])
        frame.states[_ROW[naming.total(measure.plural)]] += summed[frame.rows + 1] - summed[begin]


def micros_since_epoch(time: datetime) -> int:
    """Microseconds from the Unix epoch to an aware time, exactly.

    >>> micros_since_epoch(datetime(1970, 1, 2, tzinfo=UTC))
    86400000000
    """
    return (time - _EPOCH) // timedelta(microseconds=1)
