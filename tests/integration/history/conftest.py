"""A DuckDB and the three views' queries, compiled once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pytest
from ibis.expr.types import Table

from feature_repo.history import duck
from feature_repo.history.feature_table import KEYS
from feature_repo.history.schema import LOG
from feature_repo.history.versions import versions
from feature_repo.settings import Settings
from tests.integration.history.histories import Row, log_table
from tests.integration.history.reference import Change

Batches = Iterable[pa.RecordBatch]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here use the real DuckDB and Delta."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB with room for a table `log_rows` of log rows."""
    home = tmp_path_factory.mktemp("duckdb")
    with duck.connect(Settings(home=home, duckdb_threads=1)) as con:
        con.register("log_rows", LOG.empty_table())
        yield con


class View:
    """A view's rows for any history, by one compiled query."""

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        expression: Callable[[Table], Table],
        rows: Callable[[Batches], Iterator[pa.RecordBatch]],
    ) -> None:
        log_rows = duck.backend(db).table("log_rows")
        alive = versions(log_rows).mutate(since=ibis.literal(0, "int64"))
        self._db, self._rows = db, rows
        self._sql = ibis.to_sql(expression(alive), dialect="duckdb")

    def changes(self, history: Sequence[Row], batch_rows: int = 1000) -> list[Change]:
        """The rows the history gives, in batches of so many rows."""
        self._db.register("log_rows", log_table(history))
        reader = self._db.sql(self._sql).to_arrow_reader(batch_rows)
        table = pa.Table.from_batches(reader, schema=reader.schema)
        batches = table.to_batches(max_chunksize=batch_rows)
        return [_change(row) for batch in self._rows(batches) for row in batch.to_pylist()]


def _change(row: dict[str, Any]) -> Change:
    entity, at, created = (row.pop(name) for name in KEYS)
    assert created == at
    assert isinstance(at, datetime)
    return entity, at, row
