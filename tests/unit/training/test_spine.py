from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from feature_repo.event import HUMAN_MACHINES, Event, EventType, Machine, Op
from feature_repo.history.log import Snapshot
from feature_repo.targets import Target, target_from
from training.labels import grace_of, make_labels
from training.reading import Reading, from_us
from training.spine import make_spine

# Ibis 12 still calls what DuckDB 2 renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:fetch_arrow_table\\(\\) is deprecated:DeprecationWarning"
)

# Without shrinking: a failing history here is small already, and each run costs a second.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
LogOf = Callable[[Sequence[Event]], Snapshot]
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def an_event(kind: EventType, at: datetime, **fields: Any) -> Event:
    received = fields.pop("received_time", at)
    identity = fields.pop("event_id", f"{kind}-{at.isoformat()}-{fields.get('customer_id')}")
    return Event(
        event_id=identity,
        type=kind,
        event_time=at,
        received_time=received,
        **{"customer_id": "ann"} | fields,
    )


def decisions(
    con: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    target: Target,
    as_of: datetime,
    grace: timedelta = timedelta(0),
) -> list[tuple[str, datetime, int]]:
    """(customer, T, label) of every mature decision."""
    reading = Reading(con, snapshot, target, as_of)
    make_spine(reading, grace)
    make_labels(reading)
    rows = con.execute(
        "SELECT customer_id, at_us, label FROM spine JOIN labels USING (position) ORDER BY position"
    ).fetchall()
    return [(customer, from_us(at), label) for customer, at, label in rows]


def a_target(**fields: Any) -> Target:
    declaration = {"event": "clicked", "horizon_days": 7, "spine": "sent"} | fields
    return target_from("a_target", declaration)


def test_each_send_is_one_decision_at_its_event_time(
    con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    snapshot = log_of([an_event(EventType.SENT, MONDAY), an_event(EventType.SENT, MONDAY + HOUR)])

    found = decisions(con, snapshot, a_target(), MONDAY + 30 * DAY)

    assert found == [("ann", MONDAY, 0), ("ann", MONDAY + HOUR, 0)]


def test_a_click_that_names_a_message_counts_only_for_its_send(
    con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    snapshot = log_of(
        [
            an_event(EventType.SENT, MONDAY, message_id="m1"),
            an_event(EventType.SENT, MONDAY + HOUR, message_id="m2"),
            an_event(EventType.SENT, MONDAY + 2 * HOUR),
            an_event(EventType.CLICKED, MONDAY + 3 * HOUR, message_id="m1"),
        ]
    )

    found = decisions(con, snapshot, a_target(), MONDAY + 30 * DAY)

    # The third send names no message, so any click counts for it.
    assert [label for _, _, label in found] == [1, 0, 1]


def test_where_no_send_is_reported_the_first_delivery_of_the_message_stands_in(
    con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    delivered = EventType.DELIVERED
    snapshot = log_of(
        [
            an_event(delivered, MONDAY + 2 * HOUR, message_id="m1", event_id="again"),
            an_event(delivered, MONDAY + HOUR, message_id="m1", event_id="first"),
            an_event(EventType.CLICKED, MONDAY + 3 * HOUR, message_id="m1"),
            # Reported: its delivery is no second decision.
            an_event(EventType.SENT, MONDAY + 4 * HOUR, message_id="m2"),
            an_event(delivered, MONDAY + 5 * HOUR, message_id="m2"),
            # The same message to somebody else, whose send is not reported.
            an_event(delivered, MONDAY + 6 * HOUR, message_id="m2", customer_id="bob"),
            # Without a message nothing says that its send is missing.
            an_event(delivered, MONDAY + 7 * HOUR),
        ]
    )

    found = decisions(con, snapshot, a_target(), MONDAY + 30 * DAY)

    assert found == [
        ("ann", MONDAY + HOUR, 1),
        ("ann", MONDAY + 4 * HOUR, 0),
        ("bob", MONDAY + 6 * HOUR, 0),
    ]


def test_a_delivery_that_is_a_label_stays_one(
    con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    snapshot = log_of(
        [
            an_event(EventType.SENT, MONDAY, message_id="m1"),
            an_event(EventType.DELIVERED, MONDAY + HOUR, message_id="m1"),
            an_event(EventType.DELIVERED, MONDAY + DAY, message_id="m2"),
        ]
    )

    found = decisions(con, snapshot, a_target(event="delivered"), MONDAY + 30 * DAY)

    assert found == [("ann", MONDAY, 1), ("ann", MONDAY + DAY, 0)]


@pytest.mark.parametrize(
    ("after", "label"),
    [
        (timedelta(0), 0),  # at the decision itself: already past
        (timedelta(microseconds=1), 1),
        (7 * DAY, 1),  # the horizon's end is included
        (7 * DAY + timedelta(microseconds=1), 0),
    ],
)
def test_the_horizon_is_open_at_the_decision_and_closed_at_its_end(
    con: duckdb.DuckDBPyConnection, log_of: LogOf, after: timedelta, label: int
) -> None:
    snapshot = log_of(
        [an_event(EventType.SENT, MONDAY), an_event(EventType.CLICKED, MONDAY + after)]
    )

    assert decisions(con, snapshot, a_target(), MONDAY + 30 * DAY) == [("ann", MONDAY, label)]


def test_a_click_by_a_machine_is_no_label(con: duckdb.DuckDBPyConnection, log_of: LogOf) -> None:
    click = an_event(EventType.CLICKED, MONDAY + HOUR, machine=Machine.SCANNER)
    snapshot = log_of([an_event(EventType.SENT, MONDAY), click])

    assert decisions(con, snapshot, a_target(), MONDAY + 30 * DAY) == [("ann", MONDAY, 0)]


def test_an_absent_target_is_one_when_nothing_happens(
    con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    target = a_target(event=["purchased", "opened"], absent=True)
    snapshot = log_of(
        [
            an_event(EventType.SENT, MONDAY),
            an_event(EventType.SENT, MONDAY, customer_id="bob"),
            an_event(EventType.OPENED, MONDAY + HOUR),
        ]
    )

    found = decisions(con, snapshot, target, MONDAY + 30 * DAY)

    assert found == [("ann", MONDAY, 0), ("bob", MONDAY, 1)]


def test_a_decision_is_mature_exactly_when_horizon_and_grace_are_over(
    con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    snapshot = log_of([an_event(EventType.SENT, MONDAY)])
    mature = MONDAY + 7 * DAY + 2 * HOUR

    reading = Reading(con, snapshot, a_target(), mature - timedelta(microseconds=1))
    assert make_spine(reading, 2 * HOUR).immature == 1
    reading = Reading(con, snapshot, a_target(), mature)
    assert make_spine(reading, 2 * HOUR).immature == 0


def test_the_grace_is_the_measured_lateness_of_the_targets_own_kind(
    con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    clicks = [
        an_event(EventType.CLICKED, MONDAY + k * HOUR, received_time=MONDAY + (k + k % 3) * HOUR)
        for k in range(200)
    ]
    opened = an_event(EventType.OPENED, MONDAY, received_time=MONDAY + 90 * DAY)
    # A correction a year later says nothing about how late clicks reach us.
    corrected = an_event(
        EventType.CLICKED, MONDAY, received_time=MONDAY + 365 * DAY, event_id=clicks[0].event_id
    )
    snapshot = log_of([*clicks, opened, corrected])

    assert grace_of(Reading(con, snapshot, a_target(), MONDAY + 400 * DAY)) == 2 * HOUR


def test_a_weekly_spine_asks_on_mondays_while_the_customer_is_known_to_be_active(
    con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    target = a_target(event="purchased", spine="weekly", active_within_days=14, warm_up_days=0)
    # Bought on Tuesday, known to us only on the Tuesday after: not eligible on the Monday between.
    bought = an_event(
        EventType.PURCHASED, MONDAY + DAY, received_time=MONDAY + 8 * DAY, customer_id="bob"
    )
    snapshot = log_of([an_event(EventType.PURCHASED, MONDAY + DAY), bought])

    found = decisions(con, snapshot, target, MONDAY + 90 * DAY)

    assert found == [
        ("ann", MONDAY + 7 * DAY, 0),
        ("ann", MONDAY + 14 * DAY, 0),
        ("bob", MONDAY + 14 * DAY, 0),
    ]


def test_the_warm_up_leaves_out_the_first_weeks(
    con: duckdb.DuckDBPyConnection, log_of: LogOf
) -> None:
    target = a_target(event="purchased", spine="weekly", warm_up_days=14)
    snapshot = log_of([an_event(EventType.PURCHASED, MONDAY + DAY)])

    found = decisions(con, snapshot, target, MONDAY + 36 * DAY)

    assert [at for _, at, _ in found] == [MONDAY + 21 * DAY, MONDAY + 28 * DAY]


histories = st.lists(
    st.builds(
        lambda ident, kind, customer, at, late, message, op, machine: Event(
            event_id=f"e{ident}",
            type=kind,
            customer_id=customer,
            event_time=MONDAY + at * 12 * HOUR,
            received_time=MONDAY + (at + late) * 12 * HOUR,
            message_id=message,
            op=op,
            machine=machine,
        ),
        ident=st.integers(0, 20),
        kind=st.sampled_from(
            [EventType.SENT, EventType.DELIVERED, EventType.CLICKED, EventType.PURCHASED]
        ),
        customer=st.sampled_from(["ann", "bob"]),
        at=st.integers(0, 60),
        late=st.integers(0, 40),
        message=st.sampled_from([None, "m1", "m2"]),
        op=st.sampled_from([Op.UPSERT, Op.UPSERT, Op.UPSERT, Op.RETRACT]),
        machine=st.sampled_from([Machine.NONE, Machine.SCANNER]),
    ),
    max_size=14,
)


def known_at(events: Sequence[Event], at: datetime) -> list[Event]:
    latest: dict[str, Event] = {}
    for event in sorted(events, key=lambda e: e.received_time):
        if event.received_time <= at:
            latest[event.event_id] = event
    return [event for event in latest.values() if event.op is Op.UPSERT]


def counts(event: Event) -> bool:
    return event.type is EventType.PURCHASED or (
        event.type is EventType.CLICKED and event.machine in HUMAN_MACHINES
    )


def decided(events: Sequence[Event]) -> list[Event]:
    """The sends, and the first delivery of each message whose send is not reported."""
    sent = {(e.customer_id, e.message_id) for e in events if e.type is EventType.SENT}
    first: dict[tuple[str, str | None], Event] = {}
    for e in sorted(events, key=lambda e: (e.event_time, e.event_id)):
        key = (e.customer_id, e.message_id)
        if e.type is EventType.DELIVERED and e.message_id is not None and key not in sent:
            first.setdefault(key, e)
    return [*(e for e in events if e.type is EventType.SENT), *first.values()]


@settings(max_examples=20, deadline=None, phases=PHASES)
@given(events=histories, end=st.integers(0, 120))
def test_decisions_and_labels_are_those_of_the_definition(
    log_of: LogOf, events: list[Event], end: int
) -> None:
    as_of = MONDAY + end * 12 * HOUR
    target = a_target(event=["clicked", "purchased"], horizon_days=5, active_within_days=9)
    expected = []
    for send in decided(known_at(events, as_of)):
        at = send.event_time
        active = any(
            counts(e) and e.customer_id == send.customer_id and at - 9 * DAY < e.event_time <= at
            for e in known_at(events, at)
        )
        if at + 5 * DAY <= as_of and active:
            hit = any(
                counts(e)
                and e.customer_id == send.customer_id
                and at < e.event_time <= at + 5 * DAY
                and (None in (e.message_id, send.message_id) or e.message_id == send.message_id)
                for e in known_at(events, as_of)
            )
            expected.append((send.customer_id, at, int(hit)))

    with duckdb.connect(":memory:") as con:
        con.execute("SET TimeZone = 'UTC'")
        found = decisions(con, log_of(events), target, as_of)

    assert sorted(found) == sorted(expected)


@settings(max_examples=20, deadline=None, phases=PHASES)
@given(events=histories, end=st.integers(0, 120))
def test_a_weekly_spine_is_that_of_the_definition(
    log_of: LogOf, events: list[Event], end: int
) -> None:
    as_of = MONDAY + end * 12 * HOUR
    target = a_target(spine="weekly", horizon_days=1, active_within_days=20, warm_up_days=0)
    expected = set()
    for week in range(30):
        at = MONDAY + week * 7 * DAY
        if at + DAY <= as_of:
            expected |= {
                (e.customer_id, at)
                for e in known_at(events, at)
                if counts(e) and at - 20 * DAY < e.event_time <= at
            }

    with duckdb.connect(":memory:") as con:
        con.execute("SET TimeZone = 'UTC'")
        found = decisions(con, log_of(events), target, as_of)

    assert sorted((customer, at) for customer, at, _ in found) == sorted(expected)
