"""The Python hash of an event and the log's SQL agree, whatever the event says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.event import LARGEST_AMOUNT, Event, EventType, Machine, Op
from feature_repo.history import duck
from feature_repo.history.log import EventLog
from feature_repo.history.log_content import content_hash
from feature_repo.history.log_rows import event_rows
from feature_repo.settings import Settings

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TIMES = st.integers(0, 6 * 10**15).map(
    lambda micros: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
)
EVENTS = st.builds(
    Event,
    event_id=TEXT,
    type=st.sampled_from(EventType),
    customer_id=TEXT,
    event_time=TIMES,
    received_time=TIMES,
    op=st.sampled_from(Op),
    provider_event=st.none() | TEXT,
    url=st.none() | TEXT,
    utc_offset_minutes=st.none() | st.integers(-1080, 1080),
    machine=st.sampled_from(Machine),
    machine_score=st.none() | st.floats(0, 1),
    amount=st.none()
    | st.floats(0, LARGEST_AMOUNT)
    # On the edge between two millionths, and just below it.
    | st.integers(0, 10**6).map(lambda n: (n + 0.5) / 1e6)
    | st.just(4.9999999999999994e-07),
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EVENTS, min_size=1, max_size=40))
def test_the_hash_is_the_one_that_the_log_stores(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event]
) -> None:
    stored = stored_hashes(tmp_path_factory.mktemp("log"), events)

    assert {content_hash(event) for event in events} == stored


def stored_hashes(home: Path, events: list[Event]) -> set[str]:
    with duck.connect(Settings(home=home, duckdb_threads=1)) as con:
        log = EventLog(home / "log")
        log.append(con, con.from_arrow(event_rows(events)))
        return hashes(con, log)


def hashes(con: duckdb.DuckDBPyConnection, log: EventLog) -> set[str]:
    rows = log.snapshot().rows(con).select("content_hash")
    return {row["content_hash"] for batch in duck.stream(con, rows) for row in batch.to_pylist()}


def test_what_is_not_said_does_not_count() -> None:
    at = datetime(2024, 3, 4, tzinfo=UTC)
    said: dict[str, Any] = {
        "event_id": "e",
        "type": EventType.OPENED,
        "customer_id": "c",
        "event_time": at,
    }

    first = Event(**said, received_time=at, raw_ref="a#1")
    again = Event(**said, received_time=at + timedelta(days=2), backfilled=True)

    assert content_hash(first) == content_hash(again)


def test_a_number_that_is_none_is_refused() -> None:
    at = datetime(2024, 3, 4, tzinfo=UTC)

    with pytest.raises(ValueError, match="NaN"):
        content_hash(
            Event(
                event_id="e",
                type=EventType.PURCHASED,
                customer_id="c",
                event_time=at,
                received_time=at,
                amount=float("nan"),
            )
        )
