"""Change rows from a sorted stream of additions, folded batch by batch.

The stream is ordered by customer, segment and `known_at`. A history may reach over any number of
batches and an instant over any number of rows; what is kept between batches is one state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ORDER: Final = ("customer_id", "segment", "known_at")
"""Columns every stream has, in their order, beside `since` and those of its kernel."""


class Kernel(Protocol):
    """How additions change a state; states are columns of an array."""

    def empty(self, count: int) -> Floats:
        """States of customers of whom nothing is known."""

    def fold(self, columns: Mapping[str, Ints], group: Ints, initial: Floats, rows: Ints) -> Floats:
        """The states right after the additions numbered `rows`.

        Additions of group g (0, 1, 2 ... ascending) continue from `initial[:, g]`.
        """


@dataclass(frozen=True, slots=True)
class ChangeRows:
    """States that differ from the customer's state before, ordered by customer and time."""

    customer: pa.StringArray
    known_at: Ints
    states: Floats


@dataclass(frozen=True, slots=True)
class _Last:
    """The newest row so far, given out only when the stream has left its instant."""

    customer: pa.StringArray
    segment: int
    known_at: int
    since: int
    state: Floats
    #: The customer's state at the instant before, to compare with.
    before: Floats

    def rows(self) -> ChangeRows | None:
        """The row as a change, None when it is none or not asked for."""
        if self.known_at < self.since or (self.state == self.before).all():
            return None
        return ChangeRows(self.customer, np.array([self.known_at]), self.state)


def fold_stream(batches: Iterable[pa.RecordBatch], kernel: Kernel) -> Iterator[ChangeRows]:
    """The change rows at or after each customer's `since`."""
    last: _Last | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        part = _Part.of(batch, last)
        if last is not None and part.new_instant[0]:
            yield from filter(None, [last.rows()])
        rows, last = _fold(part, kernel, last)
        if rows.known_at.size:
            yield rows
    if last is not None:
        yield from filter(None, [last.rows()])


@dataclass(frozen=True, slots=True)
class _Part:
    """A batch, and where in it a customer, a segment and an instant begin."""

    customer: pa.StringArray
    columns: Mapping[str, Ints]
    new_customer: Mask
    new_segment: Mask
    new_instant: Mask

    @classmethod
    def of(cls, batch: pa.RecordBatch, last: _Last | None) -> _Part:
        customer = batch.column("customer_id")
        columns = {
            name: _ints(batch.column(name)) for name in batch.schema.names if name != "customer_id"
        }
        new_customer = np.ones(batch.num_rows, dtype=bool)
        new_customer[1:] = pc.not_equal(customer[1:], customer[:-1]).to_numpy(zero_copy_only=False)
        new_segment, new_instant = new_customer.copy(), new_customer.copy()
        new_segment[1:] |= np.diff(columns["segment"]) != 0
        new_instant[1:] |= np.diff(columns["known_at"]) != 0
        if last is not None:
            new_customer[0] = last.customer[0].as_py() != customer[0].as_py()
            new_segment[0] = new_customer[0] or last.segment != columns["segment"][0]
            new_instant[0] = new_customer[0] or last.known_at != columns["known_at"][0]
        return cls(customer, columns, new_customer, new_segment, new_instant)


def _fold(part: _Part, kernel: Kernel, last: _Last | None) -> tuple[ChangeRows, _Last]:
    """The changes at all instants of a part but its last one, and that one."""
    nothing = kernel.empty(1)
    groups = np.cumsum(part.new_segment, dtype=np.int64)
    groups -= groups[0]
    initial = kernel.empty(int(groups[-1]) + 1)
    if last is not None and not part.new_segment[0]:
        initial[:, :1] = last.state
    ends = np.append(np.flatnonzero(part.new_instant[1:]), len(part.customer) - 1)
    states = kernel.fold(part.columns, groups, initial, ends)
    begins = np.append(0, ends[:-1] + 1)
    first = part.new_customer[begins]
    before = _state_before(part, last, nothing)
    changed = np.empty(ends.size, dtype=bool)
    changed[0] = (states[:, :1] != before).any()
    changed[1:] = (states[:, 1:] != states[:, :-1]).any(axis=0)
    changed[first] = (states[:, first] != nothing).any(axis=0)
    known_at, since = part.columns["known_at"][ends], part.columns["since"][ends]
    newest = _Last(
        part.customer[-1:],
        int(part.columns["segment"][-1]),
        int(known_at[-1]),
        int(since[-1]),
        states[:, -1:].copy(),
        before if ends.size == 1 else nothing if first[-1] else states[:, -2:-1].copy(),
    )
    changed[-1] = False
    chosen = np.flatnonzero(changed & (known_at >= since))
    rows = ChangeRows(
        part.customer.take(pa.array(ends[chosen])), known_at[chosen], states[:, chosen]
    )
    return rows, newest


def _state_before(part: _Part, last: _Last | None, nothing: Floats) -> Floats:
    """What the first instant of a part is compared with."""
    if last is None or part.new_customer[0]:
        return nothing
    return last.state if part.new_instant[0] else last.before


def _ints(column: pa.Array) -> Ints:
    filled = pc.fill_null(column, 0) if column.null_count else column
    return np.asarray(filled.to_numpy(zero_copy_only=False), dtype=np.int64)


def rows_batch(rows: ChangeRows, values: Floats, schema: pa.Schema) -> pa.RecordBatch:
    """Change rows as a batch of a feature table; `values` has a line per feature, NaN is null."""
    known_at = pa.array(rows.known_at).cast(schema.field(1).type)
    columns = [pa.array(line, from_pandas=True) for line in values]
    return pa.record_batch([rows.customer, known_at, known_at, *columns], schema=schema)
