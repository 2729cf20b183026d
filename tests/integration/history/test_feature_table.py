"""What a feature table promises: commits at once, and a digest that knows content only."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from feature_repo import contract
from feature_repo.history.feature_table import Absorbed, Content, FeatureTable, TableState
from tests.integration.history.histories import START

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)
STATE = TableState(
    Absorbed(position=7, through="2024-01-01T00:00:00+00:00", declaration="d"), Content(3, 255)
)


@pytest.fixture
def table(tmp_path: Path) -> FeatureTable:
    return FeatureTable(contract.CUSTOMER_PROFILE, tmp_path / "profile")


def batch(table: FeatureTable, *customers: str) -> pa.RecordBatch:
    rows = [
        dict.fromkeys(table.schema.names)
        | {
            "customer_id": customer,
            "event_timestamp": START + timedelta(days=n),
            "created_timestamp": START,
            "is_subscribed": 1.0,
        }
        for n, customer in enumerate(customers)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=table.schema)


def customers(table: FeatureTable, db: duckdb.DuckDBPyConnection) -> list[str]:
    return sorted(table.rows(db).select("customer_id").to_pyarrow().column(0).to_pylist())


def test_a_table_never_built_has_no_state_and_no_rows(
    table: FeatureTable, db: duckdb.DuckDBPyConnection
) -> None:
    assert (table.state(), table.version(), table.files()) == (None, None, [])
    assert customers(table, db) == []


def test_written_rows_show_only_after_the_commit(
    table: FeatureTable, db: duckdb.DuckDBPyConnection
) -> None:
    table.commit([], STATE)
    written = list(table.write("a", [batch(table, "x", "y")]))
    assert customers(table, db) == []
    table.commit(written, STATE)
    assert customers(table, db) == ["x", "y"]


def test_the_state_is_that_of_the_newest_commit(table: FeatureTable) -> None:
    table.commit([], STATE)
    newer = TableState(STATE.absorbed, Content(4, 2**64 - 1))
    table.commit([], newer)
    assert table.state() == newer


def test_replacing_buckets_leaves_the_others(
    table: FeatureTable, db: duckdb.DuckDBPyConnection
) -> None:
    old = [*table.write("a", [batch(table, "old")]), *table.write("b", [batch(table, "other")])]
    table.commit(old, STATE)
    table.commit(list(table.write("a", [batch(table, "new")])), STATE, replaced=["a"])
    assert customers(table, db) == ["new", "other"]
    table.commit([], STATE, replaced=None)
    assert customers(table, db) == []


def test_the_digest_knows_neither_order_nor_files(
    table: FeatureTable, db: duckdb.DuckDBPyConnection
) -> None:
    def content(*batches: pa.RecordBatch) -> Content:
        actions = [action for one in batches for action in table.write("a", [one])]
        return table.content(db, [str(table.path / action.path) for action in actions])

    whole = batch(table, "x", "y", "z")
    assert (
        content(whole) == content(whole[2:], whole[:2]) == content(whole[:1]) + content(whole[1:])
    )
    assert content(whole) - content(whole[:1]) == content(whole[1:])
    assert content(whole).digest != content(batch(table, "x", "y", "w")).digest


def test_a_bucket_in_many_files_is_crowded(table: FeatureTable) -> None:
    many = [action for _ in range(32) for action in table.write("c", [batch(table, "x")])]
    table.commit([*many, *table.write("d", [batch(table, "y")])], STATE)
    assert table.crowded() == ["c"]


def test_a_new_declaration_may_bring_other_columns(
    table: FeatureTable, tmp_path: Path, db: duckdb.DuckDBPyConnection
) -> None:
    table.commit(list(table.write("a", [batch(table, "x")])), STATE)
    wider = FeatureTable(contract.CUSTOMER_PROFILE, tmp_path / "profile")
    wider.schema = table.schema.append(pa.field("language", pa.string()))
    wider.commit(list(wider.write("a", [batch(wider, "y")])), STATE, replaced=None)
    assert wider.rows(db).to_pyarrow().column("language").to_pylist() == [None]
    assert "language" in [field.name for field in DeltaTable(str(wider.path)).schema().fields]
