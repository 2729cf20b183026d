"""What the `customer_daily` table promises: exact windows of whole UTC days, as known."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.activity import micros_since_epoch
from feature_repo.history.daily_table import DAY_US, daily_rows, edges
from tests.integration.history import reference
from tests.integration.history.conftest import View
from tests.integration.history.histories import START, THROUGH, Row, histories, row

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)
LAST_DAY = micros_since_epoch(THROUGH) // DAY_US
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def view(db: duckdb.DuckDBPyConnection) -> View:
    return View(db, lambda alive: edges(alive, LAST_DAY), daily_rows)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(25), batch_rows=st.integers(1, 30))
def test_rows_are_what_counting_the_known_events_of_each_window_gives(
    view: View, history: list[Row], batch_rows: int
) -> None:
    assert view.changes(history, batch_rows) == reference.daily(history, THROUGH)


def opens_7d(view: View, *history: Row) -> dict[int, float]:
    """Value of opens_7d by days since START."""
    return {(at - START) // DAY: state["opens_7d"] for _, at, state in view.changes(history)}


def test_an_event_at_midnight_belongs_to_that_midnight(view: View) -> None:
    assert opens_7d(view, row(event_time=START))[0] == 1.0


def test_an_event_a_microsecond_after_midnight_belongs_to_the_next_one(view: View) -> None:
    counts = opens_7d(view, row(event_time=START + timedelta(microseconds=1)))
    assert (counts[1], counts[8]) == (1.0, 0.0)
    assert 0 not in counts


def test_a_click_that_arrives_48_hours_after_the_send_counts_from_the_midnight_after_its_arrival(
    view: View,
) -> None:
    sent = row("send", type="sent", event_time=START)
    click = row("click", type="clicked", received_time=START + timedelta(hours=49))
    clicks = {(at - START) // DAY: s["clicks_7d"] for _, at, s in view.changes([sent, click])}
    assert clicks[0] == 0.0
    assert clicks[3] == 1.0
    assert clicks[7] == 0.0


def test_two_events_of_one_day_are_one_active_day_until_both_are_withdrawn(view: View) -> None:
    withdrawn = {"op": "retract", "event_time": START}
    history = [
        row("a", event_time=START),
        row("b", type="clicked", event_time=START),
        row("a", received_time=START + DAY, **withdrawn),
        row("b", received_time=START + 3 * DAY, **withdrawn),
    ]
    days = {(at - START) // DAY: s["active_days_30d"] for _, at, s in view.changes(history)}
    assert (days[0], days[1], days[3]) == (1.0, 1.0, 0.0)


def test_no_row_lies_after_through(view: View) -> None:
    late = row(event_time=THROUGH - DAY)
    assert {at for _, at, _ in view.changes([late])} == {THROUGH - DAY}
