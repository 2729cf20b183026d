"""Bring one feature table to its goal: compute, write beside, then commit once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Final

import duckdb
import ibis
import pyarrow as pa
from deltalake.transaction import AddAction
from ibis.expr.types import Table

from feature_repo import contract
from feature_repo.history.activity_table import activity_rows, additions
from feature_repo.history.build_plan import Plan
from feature_repo.history.daily_table import daily_rows, edges
from feature_repo.history.duck import backend, stream
from feature_repo.history.feature_table import Content, TableState
from feature_repo.history.placement_mail import portions
from feature_repo.history.placement_table import placement_rows
from feature_repo.history.profile_table import profile_rows, profiles
from feature_repo.history.schema import LOG
from feature_repo.history.sql_functions import epoch_us
from feature_repo.history.versions import BUCKETS, bucket_of, versions


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a view's rows come from versions."""

    #: Expression over the versions of some customers, with `since`, and the last midnight to
    #: come to, in days since the Unix epoch; ordered by customer.
    expression: Callable[[Table, int], Table]
    #: Makes rows of the feature table from what the expression gives.
    rows: Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]


_RECIPES: Final = {
    contract.ACTIVITY: _Recipe(lambda alive, _: additions(alive), activity_rows),
    contract.CUSTOMER_DAILY: _Recipe(edges, daily_rows),
    contract.CUSTOMER_PROFILE: _Recipe(lambda alive, _: profiles(alive), profile_rows),
}


@cache
def _query(view: str, last_day: int) -> str:
    """SQL text of a view's expression over `part`; compiling takes longer than a small run."""
    rows = ibis.table(ibis.Schema.from_pyarrow(LOG), name="rows")
    schema = {**versions(rows).schema(), "since": "int64"}
    part = ibis.table(schema, name="part")
    return str(ibis.to_sql(_RECIPES[view].expression(part, last_day), dialect="duckdb"))


def update(con: duckdb.DuckDBPyConnection, plan: Plan, progress: Callable[[float], None]) -> None:
    """Write the table's new rows and commit them with the goal.

    Expects temporary tables `versions` and `scope_<view>`, for `customer_placement` also
    `impaired`, `sent` and `reaction`. Rows that the table holds at or after a customer's `since`
    are replaced: buckets that have any are written anew, as are those in too many files. To all
    others, rows are added.
    """
    table, held = plan.table, plan.held
    concerned = _concerned(con, plan)
    replaced: set[str] = set()
    if held is not None and concerned:
        replaced = {*_overtaken(con, plan), *table.crowded()}.intersection(concerned)
    gone = table.content(con, table.files(sorted(replaced))) if replaced else Content()
    added: list[AddAction] = []
    for bucket, fresh in _fresh(con, plan, concerned):
        kept = _kept(con, plan, bucket) if bucket in replaced else ()
        added += table.write(bucket, chain(kept, fresh))
        progress((BUCKETS.index(bucket) + 1) / len(BUCKETS))
    new = table.content(con, [str(table.path / action.path) for action in added])
    content = new if held is None else held.content - gone + new
    table.commit(
        added,
        TableState(plan.goal, content),
        replaced=None if held is None else tuple(sorted(replaced)),
    )
    if replaced or held is None:
        table.vacuum()
    progress(1.0)


def _fresh(
    con: duckdb.DuckDBPyConnection, plan: Plan, buckets: Sequence[str]
) -> Iterator[tuple[str, Iterator[pa.RecordBatch]]]:
    """The view's new rows, bucket by bucket: sorts and windows stay small."""
    view = plan.table.view
    if view == contract.CUSTOMER_PLACEMENT:
        for bucket in buckets:
            yield bucket, _placement(con, plan, bucket)
        return
    last_day = plan.last_day if view == contract.CUSTOMER_DAILY else 0
    for bucket in buckets:
        con.execute(_part_sql(plan, bucket))
        yield bucket, _RECIPES[view].rows(stream(con, _query(view, last_day)))
    con.execute("DROP TABLE IF EXISTS part")


def _placement(con: duckdb.DuckDBPyConnection, plan: Plan, bucket: str) -> Iterator[pa.RecordBatch]:
    """Placement comes from mail, not from versions."""
    ((first_day,),) = con.sql("SELECT min(day) FROM impaired").fetchall()
    for mail in portions(con, plan.table.view, bucket):
        yield from placement_rows(mail, first_day, plan.last_day)


def _concerned(con: duckdb.DuckDBPyConnection, plan: Plan) -> list[str]:
    """Buckets of the customers to look at again."""
    customers = backend(con).table(f"scope_{plan.table.view}")
    return _column(con, customers.select(bucket=bucket_of(customers.customer_id)).distinct())


def _column(con: duckdb.DuckDBPyConnection, buckets: Table) -> list[str]:
    return sorted(row[0] for row in con.sql(ibis.to_sql(buckets, dialect="duckdb")).fetchall())


def _part_sql(plan: Plan, bucket: str) -> str:
    """SQL text that makes the versions of one bucket, with `since`, queryable as `part`."""
    return (
        "CREATE OR REPLACE TEMP TABLE part AS "
        f"SELECT * FROM versions JOIN scope_{plan.table.view} USING (customer_id) "
        f"WHERE bucket = '{bucket}'"
    )


def _overtaken(con: duckdb.DuckDBPyConnection, plan: Plan) -> list[str]:
    """Buckets with stored rows that are no longer right."""
    stored = _with_since(con, plan, plan.table.rows(con))
    wrong = stored.filter(epoch_us(stored.event_timestamp) >= stored.since)
    return _column(con, wrong.select(bucket=bucket_of(wrong.customer_id)).distinct())


def _kept(con: duckdb.DuckDBPyConnection, plan: Plan, bucket: str) -> Iterator[pa.RecordBatch]:
    """Stored rows of a bucket that stay as they are."""
    stored = _with_since(con, plan, plan.table.rows(con, bucket))
    still = stored.since.isnull() | (epoch_us(stored.event_timestamp) < stored.since)
    kept = stored.filter(still).order_by("customer_id", "event_timestamp")
    for batch in stream(con, kept.select(*plan.table.schema.names)):
        yield batch.cast(plan.table.schema)


def _with_since(con: duckdb.DuckDBPyConnection, plan: Plan, stored: Table) -> Table:
    customers = backend(con).table(f"scope_{plan.table.view}")
    return stored.left_join(customers, "customer_id").select(*stored.columns, "since")
