"""Rows of the `customer_daily` view: windows of whole UTC days as of each midnight, in integers.

A day is a number: days since the Unix epoch; an event belongs to the first midnight not before
it. A version counts in the window of w days as of midnight D when
`max(day, known_day) <= D < min(day + w, end_day)`, the last two being its knowledge times rounded
up to midnights. So it adds to a window at one midnight and takes away at another, and the value
as of D is the sum of all changes up to D. Money is in millionths until the very end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import ibis
import numpy as np
import pyarrow as pa
from ibis.expr.types import IntegerValue, Table

from feature_repo import activity, contract, naming
from feature_repo.event import MICROS, EventType
from feature_repo.history.feature_table import feature_schema
from feature_repo.history.fold_stream import Floats, Ints, fold_stream, rows_batch
from feature_repo.history.versions import FOREVER

DAY_US: Final = 86_400_000_000
_NEVER: Final = 2**31
"""End day of what nothing ended."""

_SPAN: Final = ("customer_id", "since", "day", "start", "end")
_ACTIVE: Final = "active_days"
_MEASURES: Final = (*(measure.plural for measure in naming.MEASURES), _ACTIVE)
_MONEY: Final = tuple(measure.plural for measure in naming.MEASURES if measure.money)
_MONEY_LINES: Final = [
    naming.CUSTOMER_DAILY.index(naming.windowed(plural, width))
    for plural in _MONEY
    for width in naming.WINDOWS_DAYS
]
_SCHEMA: Final = feature_schema(contract.CUSTOMER_DAILY)


def day_of(time_us: IntegerValue) -> IntegerValue:
    """The first midnight not before a time."""
    shifted = time_us + (DAY_US - 1)
    # Whole by construction: `//` would round a quotient of floats.
    return ((shifted - shifted % DAY_US) / DAY_US).cast("int64")


def edges(alive: Table, last_day: int) -> Table:
    """The stream of what enters and leaves the windows, up to and including a midnight.

    Each span enters its windows at its start (edge 0) and leaves the window of w days at edge w.
    """
    spans = _spans(alive)
    every = spans.mutate(edge=ibis.array([0, *naming.WINDOWS_DAYS]).unnest())
    leaves = ibis.least(every.day + every.edge, every.end)
    every = every.mutate(at=(every.edge == 0).ifelse(every.start, leaves).cast("int32"))
    every = every.filter((every.edge == 0) | (every.start < every["at"]), every["at"] <= last_day)
    # Sorted as narrow as can be: this is the widest stream of a build.
    counts = {name: every[name].cast("int32") for name in _MEASURES if name not in _MONEY}
    narrow = every.select(
        "customer_id",
        "since",
        "edge",
        "at",
        **{name: every[name] for name in _MONEY},
        **counts,
        delay=(every.start - every.day).cast("int32"),
    )
    ordered = narrow.order_by("customer_id", "at")
    return ordered.mutate(
        segment=ibis.literal(0, "int8"), known_at=ordered["at"].cast("int64") * DAY_US
    ).drop("at")


def daily_rows(moved: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One row per customer and midnight at which a window's value became another one.

    Takes what `edges` gives; only midnights from the customer's `since` on come out.
    """
    for rows in fold_stream(moved, _Windows()):
        values = rows.states.copy()
        values[_MONEY_LINES] /= MICROS
        yield rows_batch(rows, values, _SCHEMA)


class _Windows:
    """Running sums of the windows: whole numbers in float64, exact up to 2^53."""

    def empty(self, count: int) -> Floats:
        return np.zeros((len(naming.CUSTOMER_DAILY), count))

    def fold(self, columns: Mapping[str, Ints], group: Ints, initial: Floats, rows: Ints) -> Floats:
        states = initial[:, group[rows]]
        begin = np.searchsorted(group, group[rows])
        signs = {width: _signs(columns, width) for width in naming.WINDOWS_DAYS}
        lines = ((plural, width) for plural in _MEASURES for width in naming.WINDOWS_DAYS)
        summed = np.zeros(group.size + 1, dtype=np.int64)
        for line, (plural, width) in enumerate(lines):
            np.cumsum(columns[plural] * signs[width], out=summed[1:])
            states[line] += summed[rows + 1] - summed[begin]
        return states


def _signs(columns: Mapping[str, Ints], width: int) -> Ints:
    """1 where an addition enters the window, -1 where it leaves it."""
    enters = (columns["edge"] == 0) & (columns["delay"] < width)
    leaves = columns["edge"] == width
    signs: Ints = np.subtract(enters, leaves, dtype=np.int64)
    return signs


def _spans(alive: Table) -> Table:
    """What counts, summed over versions with the same customer, day and life."""
    counted = alive.filter(alive.kind.isin([_code(m.kind) for m in naming.MEASURES]))
    day = day_of(counted.time_us)
    ended = counted.known_to < FOREVER
    lived = counted.mutate(
        day=day,
        start=ibis.greatest(day, day_of(counted.known_from)),
        end=ended.ifelse(day_of(counted.known_to), _NEVER),
    )
    lived = lived.filter(lived.start < lived.end)
    sums = {measure.plural: _summed(lived, measure) for measure in naming.MEASURES}
    zero = ibis.literal(0, "int64")
    measured = lived.group_by(*_SPAN).agg(**sums).mutate(**{_ACTIVE: zero})
    active = _active_spans(lived.filter(lived.kind.isin([_code(k) for k in naming.ENGAGEMENT])))
    none = {measure.plural: zero for measure in naming.MEASURES}
    active = active.mutate(**none, **{_ACTIVE: ibis.literal(1, "int64")})
    return measured.union(active.select(*measured.columns))


def _code(kind: EventType) -> int:
    return activity.kind_code(kind, human=True)


def _summed(lived: Table, measure: naming.Measure) -> IntegerValue:
    counts = lived.kind == _code(measure.kind)
    added = counts.ifelse(lived.micros if measure.money else 1, 0)
    # DuckDB sums integers into 128 bits, which are slow; whole doubles are exact up to 2^53.
    return added.cast("float64").sum().cast("int64")


def _active_spans(engaged: Table) -> Table:
    """For each customer and day, the stretches in which we knew of an engagement that day."""
    days = engaged.group_by("customer_id", "since", "day").agg(
        start=engaged.start.min(), end=engaged.end.max(), first_end=engaged.end.min()
    )
    simple = days.filter(days.first_end == _NEVER).select(*_SPAN)
    broken = days.filter(days.first_end < _NEVER).select("customer_id", "day")
    lives = engaged.semi_join(broken, ["customer_id", "day"]).select(*_SPAN)
    order = [lives.start, lives.end]
    keys = [lives.customer_id, lives.since, lives.day]
    earlier = ibis.window(group_by=keys, order_by=order, preceding=(None, 1))
    marked = lives.mutate(gap=(lives.start > lives.end.max().over(earlier)).fill_null(False))
    so_far = ibis.cumulative_window(
        group_by=[marked.customer_id, marked.since, marked.day],
        order_by=[marked.start, marked.end],
    )
    numbered = marked.mutate(stretch=marked.gap.cast("int64").sum().over(so_far))
    stretches = numbered.group_by("customer_id", "since", "day", "stretch").agg(
        start=numbered.start.min(), end=numbered.end.max()
    )
    return simple.union(stretches.select(*_SPAN))
