"""What the `customer_profile` table promises: the newest stated values, as known."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings

from feature_repo.history.profile_table import profile_rows, profiles
from tests.integration.history import reference
from tests.integration.history.conftest import View
from tests.integration.history.histories import START, Row, histories, row

pytestmark = pytest.mark.filterwarnings(
    # Ibis 12 calls it on DuckDB 2.
    "ignore:fetch_arrow_table:DeprecationWarning"
)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def view(db: duckdb.DuckDBPyConnection) -> View:
    return View(db, profiles, profile_rows)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories())
def test_rows_are_the_newest_values_of_the_known_events(view: View, history: list[Row]) -> None:
    assert view.changes(history) == reference.profile(history)


def test_a_customer_who_stated_nothing_is_a_subscribed_one_from_the_first_event_on(
    view: View,
) -> None:
    ((_, at, state),) = view.changes([row("a"), row("b", event_time=START + HOUR)])
    assert at == START
    assert state == {
        "country": None,
        "mailbox_provider": None,
        "currency": None,
        "utc_offset_minutes": None,
        "is_subscribed": 1.0,
    }


def test_a_value_that_happened_earlier_but_arrives_later_changes_nothing(view: View) -> None:
    newer = row("new", country="FR", event_time=START + HOUR)
    older = row("old", country="GB", event_time=START, received_time=START + 3 * HOUR)
    assert [s["country"] for _, _, s in view.changes([newer, older])] == ["FR"]


def test_withdrawing_the_newest_value_brings_back_the_one_before(view: View) -> None:
    withdrawn = row("b", op="retract", event_time=START, received_time=START + 2 * HOUR)
    history = [
        row("a", country="GB"),
        row("b", country="FR", event_time=START + HOUR),
        withdrawn,
    ]
    assert [s["country"] for _, _, s in view.changes(history)] == ["GB", "FR", "GB"]


def test_a_complaint_ends_the_subscription_and_a_new_one_begins_it(view: View) -> None:
    kinds = ["opened", "complained", "subscribed", "unsubscribed"]
    history = [row(k, type=k, event_time=START + n * HOUR) for n, k in enumerate(kinds)]
    assert [s["is_subscribed"] for _, _, s in view.changes(history)] == [1.0, 0.0, 1.0, 0.0]
