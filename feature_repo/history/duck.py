"""DuckDB as every part of the project opens it: bounded memory, spill to scratch, UTC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import duckdb
import ibis
import pyarrow as pa
from deltalake.exceptions import DeltaError
from ibis.expr.types import Table

from feature_repo.errors import StoreUnavailable
from feature_repo.scratch import scratch_folder
from feature_repo.settings import Settings

BATCH_ROWS: Final = 65_536
"""Rows per Arrow batch that leaves DuckDB."""


@contextmanager
def connect(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB with the settings' memory limit and threads.

    What does not fit is spilled to a folder of its own under scratch, deleted at the end.

    Raises:
        StoreUnavailable: what was done inside ran out of disk or memory.
    """
    with scratch_folder(settings, "duckdb") as spill:
        con = duckdb.connect(":memory:")
        try:
            con.execute("SET TimeZone = 'UTC'")
            con.execute("SET enable_progress_bar = false")
            con.execute(f"SET memory_limit = '{settings.duckdb_memory_limit}'")
            con.execute(f"SET threads = {settings.duckdb_threads}")
            con.execute(f"SET temp_directory = '{spill}'")
            yield con
        except (duckdb.OutOfMemoryException, duckdb.IOException, DeltaError) as exc:
            message = (
                f"The work could not be finished: {exc} Free disk space under {settings.home} or "
                "raise FORESEND_DUCKDB_MEMORY_LIMIT, then run it again: nothing was half done."
            )
            raise StoreUnavailable(message) from exc
        finally:
            con.close()


def backend(con: duckdb.DuckDBPyConnection) -> ibis.backends.duckdb.Backend:
    """The Ibis backend over an open connection."""
    return ibis.duckdb.from_connection(con)


def stream(con: duckdb.DuckDBPyConnection, rows: Table | str) -> Iterator[pa.RecordBatch]:
    """The rows of an expression, or of SQL, in batches, without holding them all.

    Runs when the first batch is asked for; the connection may do nothing else until the last.
    """
    query = rows if isinstance(rows, str) else ibis.to_sql(rows, dialect="duckdb")
    # Ibis' own to_pyarrow_batches calls a method that DuckDB 2 no longer has.
    yield from con.sql(query).to_arrow_reader(BATCH_ROWS)
