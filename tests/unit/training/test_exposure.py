"""Weights: silence about mail nobody saw counts for little, and everything else for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from feature_repo.deliverability.estimates import ESTIMATES
from feature_repo.event import Event, EventType, Machine
from feature_repo.history.log import Snapshot
from feature_repo.settings import Settings
from feature_repo.targets import target_from
from training.exposure import LEAST_WEIGHT, make_weights
from training.labels import make_labels
from training.reading import Reading
from training.spine import make_spine

# Ibis 12 still calls what DuckDB 2 renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:fetch_arrow_table\\(\\) is deprecated:DeprecationWarning"
)

LogOf = Callable[[Sequence[Event]], Snapshot]
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CLICKS = {"event": "clicked", "horizon_days": 7, "spine": "sent"}
CHURN = {
    "event": ["purchased", "opened", "clicked"],
    "absent": True,
    "horizon_days": 28,
    "spine": "weekly",
    "warm_up_days": 0,
    "grace_days": 0,
}


def an_event(kind: EventType, at: datetime, **fields: Any) -> Event:
    late = fields.pop("late", timedelta(0))
    return Event(
        event_id=f"{kind}-{at.isoformat()}-{fields.get('customer_id')}",
        type=kind,
        event_time=at,
        received_time=at + late,
        sending_domain="shop.example",
        **{"customer_id": "ann", "mailbox_provider": "google"} | fields,
    )


def a_mail(number: int, at: datetime, **fields: Any) -> Event:
    return an_event(EventType.SENT, at, message_id=f"m{number}", **fields)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def estimate(settings: Settings, theta: float, *days: int, known_after: int = 1) -> None:
    """Google is impaired on these days from MONDAY on, and microsoft never."""
    rows = [
        {
            "sending_domain": "shop.example",
            "mailbox_provider": provider,
            "day": (MONDAY + day * DAY).date(),
            "published_day": (MONDAY + (day + known_after) * DAY).date(),
            "p_inbox": theta,
            "p_inbox_lo": theta,
            "p_inbox_hi": theta,
            "is_impaired": provider == "google",
            "evidence": 20.0,
            "seen_rate": 0.2,
            "seen_index": None,
            "canary_index": None,
        }
        for day in days
        for provider in ("google", "microsoft")
    ]
    write_deltalake(
        settings.deliverability_path / "estimates", pa.Table.from_pylist(rows, ESTIMATES)
    )


def weights(
    settings: Settings,
    con: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    declaration: dict[str, Any],
    as_of: datetime,
) -> tuple[list[tuple[int, float]], int]:
    """(label, weight) of every decision that is kept, in order; how many are left out."""
    reading = Reading(con, snapshot, target_from("a_target", declaration), as_of)
    make_spine(reading, timedelta(0))
    make_labels(reading)
    left_out = make_weights(settings, reading)
    rows = con.execute(
        "SELECT label, weight FROM spine JOIN labels USING (position) "
        "JOIN weights USING (position) ORDER BY position"
    ).fetchall()
    return rows, left_out


def test_a_negative_counts_by_its_chance_of_the_inbox_and_a_positive_counts_one(
    settings: Settings, con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    snapshot = log_of(
        [
            a_mail(1, MONDAY + 8 * DAY),
            an_event(EventType.CLICKED, MONDAY + 9 * DAY, message_id="m1"),
            a_mail(2, MONDAY + 8 * DAY + HOUR),
            a_mail(3, MONDAY + 8 * DAY + 2 * HOUR, mailbox_provider="microsoft"),
            # Opened and not clicked: seen, and a full no.
            a_mail(4, MONDAY + 8 * DAY + 3 * HOUR),
            an_event(EventType.OPENED, MONDAY + 9 * DAY, message_id="m4"),
            a_mail(5, MONDAY + 8 * DAY + 4 * HOUR),
            # Apple fetches what is in the inbox.
            an_event(
                EventType.OPENED, MONDAY + 10 * DAY, message_id="m5", machine=Machine.APPLE_MPP
            ),
            a_mail(6, MONDAY + 20 * DAY),
        ]
    )
    estimate(settings, 0.3, 8)

    found, left_out = weights(settings, con, snapshot, CLICKS, MONDAY + 60 * DAY)

    assert [label for label, _ in found] == [1, 0, 0, 0, 0, 0]
    (seen, silent, elsewhere, opened, fetched, later) = (weight for _, weight in found)
    assert (seen, elsewhere, opened, fetched, later) == (1.0, 1.0, 1.0, 1.0, 1.0)
    # Nothing was sent before, so mail in the inbox is seen as often as in the whole cell.
    assert silent == pytest.approx(0.3 * 0.8 / (0.3 * 0.8 + 0.7))
    assert left_out == 0


def test_a_weight_never_falls_to_nothing(
    settings: Settings, con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    estimate(settings, 0.001, 8)

    found, _ = weights(
        settings, con, log_of([a_mail(1, MONDAY + 8 * DAY)]), CLICKS, MONDAY + 60 * DAY
    )

    assert found == [(0, LEAST_WEIGHT)]


@pytest.mark.parametrize(
    "declaration",
    [
        {"event": "purchased", "horizon_days": 7, "spine": "sent"},
        # A purchase needs no mail, so its absence is an answer.
        {"event": ["clicked", "purchased"], "horizon_days": 7, "spine": "sent"},
    ],
)
def test_what_can_happen_without_a_mail_is_not_weighted(
    settings: Settings,
    con: duckdb.DuckDBPyConnection,
    log_of: LogOf,
    declaration: dict[str, Any],
) -> None:
    estimate(settings, 0.1, 8)

    found, _ = weights(
        settings, con, log_of([a_mail(1, MONDAY + 8 * DAY)]), declaration, MONDAY + 60 * DAY
    )

    assert found == [(0, 1.0)]


def test_only_what_was_known_at_as_of_counts(
    settings: Settings, con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    snapshot = log_of(
        [
            a_mail(1, MONDAY + 8 * DAY),
            an_event(EventType.OPENED, MONDAY + 9 * DAY, message_id="m1", late=timedelta(days=20)),
        ]
    )
    estimate(settings, 0.1, 8, known_after=10)

    def weight(day: int) -> float:
        found, _ = weights(settings, con, snapshot, CLICKS, MONDAY + day * DAY)
        return found[0][1]

    # Before the estimate, after it, and after the late open.
    assert weight(17) == 1.0
    assert weight(19) < 0.1
    assert weight(30) == 1.0


def test_no_estimates_and_no_impaired_cell_both_weigh_one(
    settings: Settings, con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    snapshot = log_of([a_mail(1, MONDAY + 8 * DAY, mailbox_provider="microsoft")])

    without, _ = weights(settings, con, snapshot, CLICKS, MONDAY + 60 * DAY)
    estimate(settings, 0.1, 8)
    beside, _ = weights(settings, con, snapshot, CLICKS, MONDAY + 60 * DAY)

    assert without == beside == [(0, 1.0)]


def test_a_customer_whose_mail_was_not_seen_is_not_said_to_have_left(
    settings: Settings, con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    people = ("unseen", "seen", "unwritten", "buyer")
    events = [an_event(EventType.OPENED, MONDAY - HOUR, customer_id=name) for name in people]
    for number in range(3):
        sent = MONDAY + (8 + number) * DAY
        events.append(a_mail(number, sent, customer_id="unseen"))
        events.append(a_mail(number, sent, customer_id="seen", mailbox_provider="microsoft"))
        events.append(a_mail(number, sent, customer_id="buyer"))
    events.append(an_event(EventType.PURCHASED, MONDAY + 10 * DAY, customer_id="buyer"))
    # Every mail but that of microsoft is most likely in spam.
    estimate(settings, 0.05, 8, 9, 10)

    found, left_out = weights(
        settings, con, log_of(events), CHURN | {"active_within_days": 1}, MONDAY + 40 * DAY
    )

    # One decision each, at MONDAY. Whether the buyer's silence says something is not asked by the
    # answer: the rule looks at the mail alone, else it would keep only the engaged.
    assert found == [(1, 1.0), (1, 1.0)]
    assert left_out == 2


def test_a_mail_before_the_decision_or_after_the_horizon_is_not_in_the_sum(
    settings: Settings, con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    events = [
        an_event(EventType.OPENED, MONDAY - HOUR),
        a_mail(0, MONDAY),
        a_mail(1, MONDAY + 28 * DAY + timedelta(microseconds=1)),
    ]
    estimate(settings, 0.05, 0, 28)
    declaration = CHURN | {"active_within_days": 1}

    outside, none_left_out = weights(settings, con, log_of(events), declaration, MONDAY + 40 * DAY)
    at_the_end = [*events, a_mail(2, MONDAY + 28 * DAY)]
    inside, left_out = weights(settings, con, log_of(at_the_end), declaration, MONDAY + 40 * DAY)

    assert (outside, none_left_out) == ([(1, 1.0)], 0)
    assert (inside, left_out) == ([], 1)


@pytest.mark.parametrize(
    ("sign", "is_seen"),
    [
        # Names no mail: taken for an answer to the newest one, for a week.
        ({"at": MONDAY + 14 * DAY}, True),
        ({"at": MONDAY + 16 * DAY}, False),
        # Names a mail that nobody reported as sent.
        ({"at": MONDAY + 14 * DAY, "message_id": "m9"}, True),
        # Names another mail.
        ({"at": MONDAY + 14 * DAY, "message_id": "m0"}, False),
        ({"at": MONDAY + 14 * DAY, "machine": Machine.SCANNER}, False),
    ],
)
def test_an_open_counts_for_its_mail(
    settings: Settings,
    con: duckdb.DuckDBPyConnection,
    log_of: LogOf,
    sign: dict[str, Any],
    is_seen: bool,
) -> None:
    at = sign.pop("at")
    snapshot = log_of(
        [
            a_mail(0, MONDAY + 2 * DAY),
            a_mail(1, MONDAY + 8 * DAY),
            an_event(EventType.OPENED, at, **sign),
        ]
    )
    estimate(settings, 0.1, 8)

    found, _ = weights(settings, con, snapshot, CLICKS, MONDAY + 60 * DAY)

    assert (found[1][1] == 1.0) is is_seen


def test_a_delivery_stands_in_for_a_send_that_is_not_reported(
    settings: Settings, con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    snapshot = log_of(
        [
            an_event(EventType.DELIVERED, MONDAY + 8 * DAY, message_id="m1"),
            an_event(EventType.DELIVERED, MONDAY + 8 * DAY + HOUR, message_id="m1"),
        ]
    )
    estimate(settings, 0.1, 8)

    found, _ = weights(settings, con, snapshot, CLICKS, MONDAY + 60 * DAY)

    assert [weight < 0.1 for _, weight in found] == [True]
