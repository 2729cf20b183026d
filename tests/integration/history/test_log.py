"""What the event log promises: append-only, once, all or nothing, and two readings of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from feature_repo.history import duck
from feature_repo.history.log import Appended, EventLog
from feature_repo.history.schema import EVENTS, LOG
from feature_repo.settings import Settings

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)

DAY = datetime(2024, 3, 4, tzinfo=UTC)


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "log")


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duck.connect(Settings(home=tmp_path, duckdb_threads=1)) as con:
        yield con


def event(event_id: str = "e1", **changes: Any) -> dict[str, Any]:
    good = {
        "event_id": event_id,
        "received_time": DAY + timedelta(hours=1),
        "event_time": DAY,
        "customer_id": "c1",
        "type": "purchased",
        "op": "upsert",
        "provider": "shop",
        "machine": "none",
        "amount": 5.0,
        "backfilled": False,
    }
    return dict.fromkeys(EVENTS.names) | good | changes


def append(log: EventLog, con: duckdb.DuckDBPyConnection, *events: dict[str, Any]) -> Appended:
    return log.append(con, con.from_arrow(pa.Table.from_pylist(list(events), schema=EVENTS)))


def read(con: duckdb.DuckDBPyConnection, table: Any) -> list[dict[str, Any]]:
    return [row for batch in duck.stream(con, table) for row in batch.to_pylist()]


def amounts(con: duckdb.DuckDBPyConnection, table: Any) -> list[float]:
    return sorted(row["amount"] for row in read(con, table))


def test_a_log_that_does_not_exist_is_empty(log: EventLog, con: duckdb.DuckDBPyConnection) -> None:
    snapshot = log.snapshot()

    assert (snapshot.version, snapshot.last_position) == (None, -1)
    assert read(con, snapshot.rows(con)) == []
    assert read(con, snapshot.as_corrected(con, ["amount"])) == []


def test_rows_come_back_as_they_went_in(log: EventLog, con: duckdb.DuckDBPyConnection) -> None:
    given = event(country="DE", url="https://shop.example/é", utc_offset_minutes=60)

    append(log, con, given)

    stored = read(con, log.snapshot().rows(con))[0]
    assert given == {name: stored[name] for name in EVENTS.names}
    assert set(LOG.names) == set(stored)


def test_positions_count_on_from_append_to_append(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    append(log, con, *(event(f"a{n}") for n in range(3)))
    append(log, con, event("a1"), event("b"), event("c", event_time=DAY - timedelta(days=90)))

    rows = sorted(read(con, log.snapshot().rows(con)), key=lambda row: row["log_pos"])
    assert [(row["log_pos"], row["event_id"]) for row in rows] == [
        (0, "a0"), (1, "a1"), (2, "a2"), (3, "b"), (4, "c"),
    ]  # fmt: skip
    assert log.snapshot().last_position == 4


def test_what_says_the_same_is_known_however_it_came(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    append(log, con, event())
    later = DAY + timedelta(days=9)

    done = append(log, con, event(received_time=later, raw_ref="b#1", backfilled=True), event())

    assert Appended(rows=0, known=2, version=0) == done


def test_the_first_of_equal_rows_in_one_append_is_kept(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    done = append(log, con, event(raw_ref="first"), event(raw_ref="second"))

    assert (done.rows, done.known) == (1, 1)
    assert read(con, log.snapshot().rows(con))[0]["raw_ref"] == "first"


@pytest.mark.parametrize(
    "change",
    [{"amount": 5.000001}, {"country": ""}, {"op": "retract"}, {"reason": "\x1d"}, {"url": "x"}],
)
def test_what_says_something_else_is_a_new_row(
    log: EventLog, con: duckdb.DuckDBPyConnection, change: dict[str, Any]
) -> None:
    append(log, con, event())

    assert append(log, con, event(**change)).rows == 1


def test_the_two_readings_of_a_corrected_and_a_withdrawn_event(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    hour = timedelta(hours=1)
    append(log, con, event("e1"), event("e2", amount=7.0))
    append(log, con, event("e1", amount=4.0, received_time=DAY + 3 * hour))
    append(log, con, event("e2", amount=7.0, op="retract", received_time=DAY + 5 * hour))
    snapshot = log.snapshot()

    assert amounts(con, snapshot.as_known(con, DAY, ["amount"])) == []
    assert amounts(con, snapshot.as_known(con, DAY + hour, ["amount"])) == [5.0, 7.0]
    assert amounts(con, snapshot.as_known(con, DAY + 4 * hour, ["amount"])) == [4.0, 7.0]
    assert amounts(con, snapshot.as_corrected(con, ["amount"])) == [4.0]


def test_a_snapshot_does_not_see_later_appends(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    append(log, con, event("e1"))
    early = log.snapshot()
    append(log, con, event("e2"))

    assert len(read(con, early.rows(con))) == 1
    assert len(read(con, log.snapshot(version=0).rows(con))) == 1
    assert len(read(con, log.snapshot().rows(con))) == 2


def test_compaction_keeps_every_row_and_needs_fewer_files(
    log: EventLog, con: duckdb.DuckDBPyConnection
) -> None:
    for n in range(5):
        append(log, con, event(f"e{n}"))
    before = read(con, log.snapshot().rows(con))

    files = log.compact(keep=timedelta(0))

    assert files == 1
    after = read(con, log.snapshot().rows(con))
    assert sorted(map(str, before)) == sorted(map(str, after))
    assert append(log, con, event("e0")).known == 1


def test_files_of_a_killed_append_are_no_rows_and_are_swept(
    log: EventLog, con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    append(log, con, event("e1"))
    stored = next((tmp_path / "log").glob("event_month=*/*.parquet"))
    orphan = stored.with_name("part-killed.parquet")
    orphan.write_bytes(stored.read_bytes())

    assert len(read(con, log.snapshot().rows(con))) == 1

    log.compact(keep=timedelta(0))
    assert not orphan.exists()
