"""What versions promise: from when until when the log said what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import ibis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import activity
from feature_repo.activity import micros_since_epoch
from feature_repo.event import amount_micros
from feature_repo.history import duck, scope
from feature_repo.history.versions import FOREVER, expand, versions
from tests.integration.history.histories import START, Row, log_table, row

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)
HOUR = timedelta(hours=1)


def read(db: duckdb.DuckDBPyConnection, table: ibis.Table) -> list[dict[str, Any]]:
    return [entry for batch in duck.stream(db, table) for entry in batch.to_pylist()]


def log_rows(db: duckdb.DuckDBPyConnection, *history: Row) -> ibis.Table:
    db.register("log_rows", log_table(history))
    return duck.backend(db).table("log_rows")


def lives(db: duckdb.DuckDBPyConnection, *history: Row) -> list[tuple[str, int, int | None]]:
    """(customer, hour known, hour it ended), hours since START."""

    def hour(time_us: int) -> int | None:
        return (
            None if time_us == FOREVER else (time_us - micros_since_epoch(START)) // 3_600_000_000
        )

    found = read(db, versions(log_rows(db, *history)).order_by("known_from", "customer_id"))
    return [(v["customer_id"], hour(v["known_from"]) or 0, hour(v["known_to"])) for v in found]


def test_an_event_never_corrected_is_alive_for_ever(db: duckdb.DuckDBPyConnection) -> None:
    assert lives(db, row()) == [("c", 0, None)]


def test_a_correction_ends_the_version_before_it_whoever_it_is_about(
    db: duckdb.DuckDBPyConnection,
) -> None:
    history = row("e", "old"), row("e", "new", received_time=START + HOUR)
    assert lives(db, *history) == [("old", 0, 1), ("new", 1, None)]


def test_a_retraction_is_no_version_and_ends_one(db: duckdb.DuckDBPyConnection) -> None:
    assert lives(db, row(), row(op="retract", received_time=START + HOUR)) == [("c", 0, 1)]


def test_of_rows_received_at_one_instant_only_the_last_is_a_version(
    db: duckdb.DuckDBPyConnection,
) -> None:
    assert lives(db, row("e", "first"), row("e", "last")) == [("last", 0, None)]


def test_a_row_appended_later_takes_its_place_by_received_time(
    db: duckdb.DuckDBPyConnection,
) -> None:
    newest = row("e", "newest", received_time=START + 2 * HOUR)
    assert lives(db, newest, row("e", "backfilled")) == [("backfilled", 0, 2), ("newest", 2, None)]


def test_versions_alive_at_an_end_are_carried_into_the_next_segment_in_their_order(
    db: duckdb.DuckDBPyConnection,
) -> None:
    history = [
        row("a", type="sent"),
        row("b", type="opened", received_time=START + HOUR),
        row("a", op="retract", received_time=START + 2 * HOUR),
        row("c", type="clicked", received_time=START + 3 * HOUR),
    ]
    alive = versions(log_rows(db, *history)).mutate(since=ibis.literal(0, "int64"))
    stream = read(db, expand(alive).order_by("segment", "known_from", "log_pos"))
    hour = micros_since_epoch(START) + 2 * 3_600_000_000
    assert [(entry["type"], entry["segment"] == hour) for entry in stream] == [
        ("sent", False),
        ("opened", False),
        ("opened", True),
        (None, True),
        ("clicked", True),
    ]
    assert [entry["known_at"] >= hour for entry in stream] == [False, False, True, True, True]


def since(db: duckdb.DuckDBPyConnection, table: ibis.Table) -> dict[str, datetime]:
    epoch = START - timedelta(microseconds=micros_since_epoch(START))
    return {
        entry["customer_id"]: epoch + timedelta(microseconds=entry["since"])
        for entry in read(db, table)
    }


def test_a_moved_event_touches_the_customer_it_leaves_from_that_moment_on(
    db: duckdb.DuckDBPyConnection,
) -> None:
    history = row("e", "old"), row("x", "other"), row("e", "new", received_time=START + HOUR)
    touched = since(db, scope.changed(log_rows(db, *history), position=1))
    assert touched == {"old": START + HOUR, "new": START + HOUR}


def test_passing_days_touch_customers_whose_windows_an_event_leaves(
    db: duckdb.DuckDBPyConnection,
) -> None:
    rows = log_rows(db, row("a", "leaves"), row("b", "stays", event_time=START + timedelta(days=9)))
    day = micros_since_epoch(START) // 86_400_000_000
    assert set(since(db, scope.passing(rows, day + 6, day + 7))) == {"leaves"}


def codes(db: duckdb.DuckDBPyConnection, history: Sequence[Row]) -> list[tuple[int, int]]:
    found = read(db, versions(log_rows(db, *history)).order_by("log_pos"))
    return [(version["kind"], version["micros"]) for version in found]


@settings(deadline=None, max_examples=25)
@given(
    amounts=st.lists(
        st.one_of(st.none(), st.floats(0, 1e9), st.integers(0, 10**7).map(lambda n: n * 5e-7)),
        min_size=1,
        max_size=30,
    )
)
def test_money_is_rounded_to_millionths_as_the_event_says(
    db: duckdb.DuckDBPyConnection, amounts: list[float | None]
) -> None:
    history = [row(f"e{n}", type="purchased", amount=amount) for n, amount in enumerate(amounts)]
    assert [micros for _, micros in codes(db, history)] == [amount_micros(a) or 0 for a in amounts]


def test_kinds_are_coded_as_the_kernel_codes_them(db: duckdb.DuckDBPyConnection) -> None:
    kinds = ["sent", "opened", "clicked", "delivered", "purchased", "unsubscribed"]
    machines = ["none", "gmail_proxy", "scanner"]
    pairs = [(kind, machine) for kind in kinds for machine in machines]
    history = [row(f"{kind}{m}", type=kind, machine=m) for kind, m in pairs]
    assert [code for code, _ in codes(db, history)] == [
        activity.kind_code(kind, human=machine != "scanner") for kind, machine in pairs
    ]
