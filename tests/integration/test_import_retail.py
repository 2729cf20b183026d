"""The real purchases that ship with the project, through the shipped mapping."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from feature_repo.history import duck
from feature_repo.history.log import EventLog
from feature_repo.ingest.importer import import_files
from feature_repo.ingest.known_at import parse_known_at
from feature_repo.ingest.mapping import load_mapping
from feature_repo.ingest.outcome import ImportSummary
from feature_repo.ingest.shipped import shipped_dataset
from feature_repo.settings import Settings

pytestmark = [
    pytest.mark.integration,
    # Ibis 12 calls it on DuckDB 2.
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("retail"))


@pytest.fixture(scope="module")
def summary(settings: Settings) -> ImportSummary:
    return import_retail(settings)


@pytest.fixture
def con(settings: Settings, summary: ImportSummary) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the log as `log` and the shipped file as `invoices`."""
    files = list(EventLog(settings.log_path).snapshot().files)
    with duck.connect(settings) as con:
        con.from_parquet(files, hive_partitioning=True).create_view("log")
        con.from_parquet(str(shipped_dataset())).create_view("invoices")
        yield con


def import_retail(settings: Settings) -> ImportSummary:
    return import_files(
        settings,
        [shipped_dataset()],
        mapping=load_mapping("online_retail"),
        known_at=parse_known_at("event_time+2h"),
        clock=lambda: datetime(2024, 1, 1, tzinfo=UTC),
    )


def test_the_numbers_of_the_shipped_purchases(summary: ImportSummary) -> None:
    assert summary.rows == 541_909
    assert summary.events == 22_186
    assert summary.types == {"purchased": 18_532, "refunded": 3_654}
    assert summary.customers == 4_371
    assert summary.skipped == {"no_customer": 135_080, "nothing_paid": 7}
    assert summary.quarantined == {}
    assert summary.first_event == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    assert summary.last_event == datetime(2011, 12, 9, 12, 50, tzinfo=UTC)


def test_no_penny_is_lost_or_invented(con: duckdb.DuckDBPyConnection) -> None:
    lines = con.execute(
        "SELECT sum(Quantity * UnitPrice::DECIMAL(18, 3)) FROM invoices "
        "WHERE CustomerID IS NOT NULL"
    ).fetchall()[0][0]
    events = con.execute(
        "SELECT sum(CASE type WHEN 'refunded' THEN -amount ELSE amount END::DECIMAL(18, 6)) "
        "FROM log"
    ).fetchall()[0][0]

    assert lines == events


def test_times_are_the_shops_wall_clock(con: duckdb.DuckDBPyConnection) -> None:
    summer, winter = con.execute(
        "SELECT min(hour(event_time)) FILTER (month(event_time) IN (6, 7, 8)), "
        "min(hour(event_time)) FILTER (month(event_time) IN (12, 1, 2)) FROM log"
    ).fetchall()[0]

    assert summer < winter  # the shop opens at the same local hour


def test_rows_say_that_their_knowledge_time_was_declared(con: duckdb.DuckDBPyConnection) -> None:
    assert con.execute(
        "SELECT DISTINCT backfilled, received_time - event_time = INTERVAL 2 HOUR, "
        "mapping_version, currency, provider FROM log"
    ).fetchall() == [(True, True, "online_retail@1", "GBP", "online_retail")]


def test_importing_the_purchases_again_changes_nothing(
    settings: Settings, summary: ImportSummary
) -> None:
    again = import_retail(settings)

    assert (again.events, again.known, again.version) == (0, summary.events, summary.version)


def test_the_licence_ships_beside_the_data() -> None:
    text = (shipped_dataset().parent / "LICENSE-online_retail.txt").read_text()

    assert "CC0" in text
    assert Path(shipped_dataset()).stat().st_size > 3_000_000
