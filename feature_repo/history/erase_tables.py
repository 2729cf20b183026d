"""Erasure in the feature tables: a bucket is written anew without the person's rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import duckdb
import pyarrow as pa
from ibis.expr.types import Table

from feature_repo import contract
from feature_repo.history import duck
from feature_repo.history.erase_person import Person
from feature_repo.history.feature_table import FeatureTable, TableState
from feature_repo.settings import Settings
from feature_repo.sole import only_one


def erase_from_tables(
    settings: Settings, person: Person, *, wait_s: float
) -> Iterator[tuple[str, int]]:
    """Remove the person's rows from one view after the other; each with their number.

    Rows and digest of all others stay what they were, and what the tables have absorbed too, so
    the next build goes on from there.

    Raises:
        StoreUnavailable: a build was running for longer than `wait_s`.
    """
    with only_one(settings, "build", wait_s=wait_s):
        for view in contract.VIEWS:
            yield view, _erase(settings, FeatureTable(view, settings.feature_path(view)), person)


def _erase(settings: Settings, table: FeatureTable, person: Person) -> int:
    state = table.state()
    if state is None:
        return 0
    erased = 0
    with duck.connect(settings) as con:
        content, added, replaced = state.content, [], []
        for bucket in sorted(set(map(_bucket, person.ids))):
            own = _own(table.rows(con, bucket), person)
            count = int(own.count().execute())
            if count:
                written = list(table.write(bucket, _others(con, table, bucket, person)))
                before = table.content(con, table.files([bucket]))
                after = table.content(con, [str(table.path / action.path) for action in written])
                content, erased = content - before + after, erased + count
                added += written
                replaced.append(bucket)
        if replaced:
            goal = TableState(state.absorbed, content)
            table.commit(added, goal, replaced=tuple(replaced))
    table.vacuum(keep_hours=0)
    return erased


def _bucket(customer_id: str) -> str:
    """As `versions.bucket_of`."""
    return hashlib.md5(customer_id.encode(), usedforsecurity=False).hexdigest()[0]


def _own(rows: Table, person: Person) -> Table:
    return rows.filter(rows.customer_id.isin(sorted(person.ids)))


def _others(
    con: duckdb.DuckDBPyConnection, table: FeatureTable, bucket: str, person: Person
) -> Iterator[pa.RecordBatch]:
    rows = table.rows(con, bucket)
    kept = rows.filter(rows.customer_id.notin(sorted(person.ids)))
    for batch in duck.stream(con, kept.order_by("customer_id", "event_timestamp")):
        yield batch.cast(table.schema)
