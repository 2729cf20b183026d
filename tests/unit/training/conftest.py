"""A log in memory, for tests of what training reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import duckdb
import ibis
import pyarrow as pa
import pytest
from ibis.expr.types import Table

from feature_repo.event import Event
from feature_repo.history.log import Snapshot
from feature_repo.history.schema import LOG


@dataclass(frozen=True)
class MemorySnapshot(Snapshot):
    """A snapshot whose rows were never written anywhere."""

    held: pa.Table = None

    def rows(self, con: duckdb.DuckDBPyConnection) -> Table:
        con.register("memory_log", self.held)
        return ibis.duckdb.from_connection(con).table("memory_log")


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@pytest.fixture(scope="session")
def log_of() -> Callable[[Sequence[Event]], Snapshot]:
    def make(events: Sequence[Event]) -> Snapshot:
        rows = [
            asdict(event)
            | {
                "log_pos": position,
                "content_hash": str(position),
                "event_month": event.event_time.strftime("%Y-%m"),
            }
            for position, event in enumerate(events)
        ]
        return MemorySnapshot(0, ("memory",), len(rows) - 1, pa.Table.from_pylist(rows, LOG))

    return make
