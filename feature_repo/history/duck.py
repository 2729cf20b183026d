"""DuckDB as every part of the project opens it: bounded memory, spill to scratch, UTC."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import rmtree

import duckdb
import ibis
import pyarrow as pa
from ibis.expr.types import Table

from feature_repo.settings import Settings


@contextmanager
def connect(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB with the settings' memory limit and threads.

    What does not fit is spilled to a folder of its own under scratch, deleted at the end.
    """
    spill = settings.scratch_path / f"duckdb-{uuid.uuid4().hex}"
    spill.mkdir(parents=True)
    con = duckdb.connect(":memory:")
    try:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"SET memory_limit = '{settings.duckdb_memory_limit}'")
        con.execute(f"SET threads = {settings.duckdb_threads}")
        con.execute(f"SET temp_directory = '{spill}'")
        yield con
    finally:
        con.close()
        rmtree(spill, ignore_errors=True)


def backend(con: duckdb.DuckDBPyConnection) -> ibis.backends.duckdb.Backend:
    """The Ibis backend over an open connection."""
    return ibis.duckdb.from_connection(con)


def stream(
    con: duckdb.DuckDBPyConnection, rows: Table, batch_rows: int = 65_536
) -> Iterator[pa.RecordBatch]:
    """The rows of an expression in batches, without holding them all."""
    # Ibis' own to_pyarrow_batches calls a method that DuckDB 2 no longer has.
    yield from con.sql(ibis.to_sql(rows, dialect="duckdb")).to_arrow_reader(batch_rows)
