"""Rows of the `activity` view: versions streamed in fold order through the activity kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import pyarrow as pa
from ibis.expr.types import Table

from feature_repo import activity, contract
from feature_repo.history import versions
from feature_repo.history.feature_table import feature_schema
from feature_repo.history.fold_stream import Floats, Ints, fold_stream, rows_batch

_SCHEMA: Final = feature_schema(contract.ACTIVITY)


def additions(alive: Table) -> Table:
    """The counted versions as a stream of additions in fold order."""
    expanded = versions.expand(alive.filter(alive.kind != activity.NOT_COUNTED))
    ordered = expanded.order_by("customer_id", "segment", "known_from", "log_pos")
    return ordered.select(
        "customer_id",
        "segment",
        "known_at",
        "since",
        "kind",
        "time_us",
        "micros",
        "utc_offset_minutes",
    )


def activity_rows(added: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One row per customer and knowledge time at which the state became another one.

    Takes what `additions` gives; only rows at or after the customer's `since` come out. Memory is
    that of a few batches.
    """
    for rows in fold_stream(added, _Kernel()):
        yield rows_batch(rows, activity.stored(rows.states), _SCHEMA)


class _Kernel:
    """The activity kernel over the columns of `additions`."""

    def empty(self, count: int) -> Floats:
        return activity.empty(count)

    def fold(self, columns: Mapping[str, Ints], group: Ints, initial: Floats, rows: Ints) -> Floats:
        terms = activity.Terms(
            columns["kind"], columns["time_us"], columns["micros"], columns["utc_offset_minutes"]
        )
        return activity.fold_many(terms, group, initial, rows)
