"""What the `activity` table promises: the fold of what was known, bit by bit, at each moment."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo import activity, naming
from feature_repo.event import Event, EventType, Machine
from feature_repo.history.activity_table import activity_rows, additions
from tests.integration.history import reference
from tests.integration.history.conftest import View
from tests.integration.history.histories import (
    START,
    Row,
    corrected_never,
    histories,
    row,
)

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)
randomly = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def view(db: duckdb.DuckDBPyConnection) -> View:
    return View(db, additions, activity_rows)


@randomly
@given(history=histories(), batch_rows=st.integers(1, 30))
def test_rows_are_what_folding_the_known_events_gives_bit_by_bit(
    view: View, history: list[Row], batch_rows: int
) -> None:
    assert view.changes(history, batch_rows) == reference.activity(history)


@randomly
@given(history=histories().map(corrected_never))
def test_rows_are_what_folding_event_by_event_gives_when_nothing_is_corrected(
    view: View, history: list[Row]
) -> None:
    folded = {}
    states: dict[str, activity.Floats] = {}
    for entry in sorted(history, key=lambda entry: entry["received_time"]):
        customer = entry["customer_id"]
        states[customer] = activity.fold(states.get(customer, activity.empty()), _event(entry))
        folded[customer, entry["received_time"]] = activity.stored(states[customer])[:, 0].tolist()
    for customer, at, state in view.changes(history):
        nan_free = [None if value != value else value for value in folded[customer, at]]
        assert nan_free == list(state.values())


def _event(entry: Row) -> Event:
    typed = {"type": EventType(entry["type"]), "machine": Machine(entry["machine"]), "op": "upsert"}
    return Event(**(entry | typed))


def test_a_click_that_arrives_48_hours_after_the_send_is_in_no_row_before_its_arrival(
    view: View,
) -> None:
    sent = row("send", type="sent")
    late = row("click", type="clicked", received_time=START + timedelta(hours=48))
    first, second = view.changes([sent, late])
    assert first[2]["clicks_total"] == 0.0
    assert first[2]["last_click_at"] is None
    assert second[1] == START + timedelta(hours=48)
    assert second[2]["clicks_total"] == 1.0
    assert second[2]["last_click_at"] == START.timestamp()


def test_a_customer_of_whom_everything_was_withdrawn_gets_a_row_without_anything(
    view: View,
) -> None:
    gone = row("e", op="retract", received_time=START + timedelta(days=1))
    _, (_, at, state) = view.changes([row("e"), gone])
    assert at == START + timedelta(days=1)
    assert {state[naming.total(measure.plural)] for measure in naming.TOTALS} == {0.0}
    assert {value for name, value in state.items() if not name.endswith("_total")} == {None}


def test_events_that_do_not_count_give_no_rows(view: View) -> None:
    assert view.changes([row("a", type="delivered"), row("b", machine="apple_mpp")]) == []


def test_a_correction_that_moves_an_event_changes_both_customers_at_once(view: View) -> None:
    at = START + timedelta(hours=1)
    moved = row("e", "new", received_time=at)
    changes = {
        (customer, at): s["opens_total"]
        for customer, at, s in view.changes([row("e", "old"), moved])
    }
    assert changes == {("old", START): 1.0, ("old", at): 0.0, ("new", at): 1.0}
