"""A file larger than the memory limit is imported."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from feature_repo.ingest.importer import import_files
from feature_repo.settings import Settings

pytestmark = [
    pytest.mark.integration,
    # Ibis 12 calls it on DuckDB 2.
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

ROWS = 400_000
LIMIT_MB = 200


def test_a_file_larger_than_the_memory_limit_is_imported(tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    with duckdb.connect() as con:
        con.execute(f"""COPY (
            SELECT 'opened' AS type, 'c' || i % 9973 AS customer_id, md5('m' || i) AS message_id,
                   strftime(TIMESTAMP '2023-01-01' + to_minutes(i), '%Y-%m-%dT%H:%M:%SZ')
                     AS event_time,
                   strftime(TIMESTAMP '2023-01-01' + to_minutes(i + 5), '%Y-%m-%dT%H:%M:%SZ')
                     AS received_time,
                   repeat(md5(i::VARCHAR), 14) AS url
            FROM range({ROWS}) AS t(i)) TO '{file}'""")
    assert file.stat().st_size > LIMIT_MB * 1_000_000

    summary = import_files(
        Settings(home=tmp_path / "home", duckdb_memory_limit=f"{LIMIT_MB}MB"),
        [file],
        clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )

    assert (summary.events, summary.customers) == (ROWS, 9_973)
