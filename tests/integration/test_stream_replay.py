"""Any way through, one result: whatever order, repetition, crash or load, a replay's bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo import online
from feature_repo.event import Event, EventType, Machine, Op
from tests.integration.stream_world import HOUR, START, World, event

pytestmark = pytest.mark.integration

CUSTOMERS = ("ann", "bob", "eve")
KINDS = (
    *(EventType.SENT, EventType.OPENED, EventType.CLICKED, EventType.BROWSED),
    *(EventType.PURCHASED, EventType.REFUNDED, EventType.UNSUBSCRIBED, EventType.SUBSCRIBED),
    EventType.DELIVERED,
)
LAGS = (timedelta(0), timedelta(minutes=2), 48 * HOUR, 700 * HOUR, timedelta(minutes=-4))
FLOOD = 70
"""Events of one customer, more than a state remembers."""


@pytest.fixture(scope="module")
def client(redis_server: str) -> Iterator[redis.Redis]:
    with online.connect(redis_server) as client:
        yield client


@st.composite
def rows(draw: st.DrawFn) -> Event:
    """A row of one of few events, so that some correct, move and withdraw each other."""
    received = START + draw(st.integers(0, 60 * 24)) * HOUR
    kind = draw(st.sampled_from(KINDS))
    return event(
        f"e{draw(st.integers(0, 14))}",
        draw(st.sampled_from(CUSTOMERS)),
        type=kind,
        received_time=received,
        event_time=received - draw(st.sampled_from(LAGS)),
        op=draw(st.sampled_from([Op.UPSERT] * 9 + [Op.RETRACT])),
        machine=draw(st.sampled_from([Machine.NONE, Machine.NONE, Machine.SCANNER])),
        amount=draw(st.sampled_from([0.1, 12.34])) if kind is EventType.PURCHASED else None,
        country=draw(st.sampled_from([None, None, "GB", "FR"])),
        utc_offset_minutes=draw(st.sampled_from([None, 0, -300])),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Rows, perhaps with a flood of one customer's among them."""
    history = draw(st.lists(rows(), min_size=1, max_size=25))
    if draw(st.booleans()):
        first = draw(st.integers(0, 60 * 24))
        flood = [event(f"f{n}", event_time=START + (first + n) * HOUR) for n in range(FLOOD)]
        history += flood
    return history


@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(history=histories(), data=st.data())
def test_any_way_through_ends_in_the_bytes_of_a_replay(
    history: list[Event],
    data: st.DataObject,
    client: redis.Redis,
    redis_server: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    client.flushall()
    world = World(tmp_path_factory.mktemp("home"), client, redis_server)

    wander(world, data, history)
    finish(world, history)
    replica = world.replica("replay")
    for one in sorted(history, key=lambda row: row.received_time):
        replica.handler.handle([one])
    settle(replica)

    assert world.fields(CUSTOMERS) == replica.fields(CUSTOMERS)
    assert world.owed() == set()


@settings(
    deadline=None,
    max_examples=8,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(history=histories(), data=st.data())
def test_any_way_through_ends_in_what_the_tables_say(
    history: list[Event],
    data: st.DataObject,
    client: redis.Redis,
    redis_server: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    client.flushall()
    world = World(tmp_path_factory.mktemp("home"), client, redis_server)

    wander(world, data, history)
    finish(world, history)

    world.assert_equals_tables(CUSTOMERS)


def wander(world: World, data: st.DataObject, history: Sequence[Event]) -> None:
    """Roles run in any order, over parts of the history in any order, some of it again."""
    steps = ["handle", "handle", "archive", "archive", "import", "recompute", "load", "full load"]
    archived = False
    for step in data.draw(st.lists(st.sampled_from(steps), max_size=8), label="steps"):
        if step in ("handle", "archive", "import"):
            part = data.draw(st.lists(st.sampled_from(history), min_size=1, max_size=12))
            if step == "handle":
                # Handled, and not acknowledged: the rest of the history brings it again.
                world.handler.handle(part)
            else:
                world.archive(part, writer=step)
                archived = True
        elif step == "recompute":
            world.recompute()
        elif archived:
            world.build_and_load(full=step == "full load")


def finish(world: World, history: Sequence[Event]) -> None:
    """Everything is handled and archived at last, and then comes once more."""
    world.handler.handle(history)
    world.archive(history)
    settle(world)
    world.handler.handle([replace(one, received_time=one.received_time + HOUR) for one in history])
    settle(world)


def settle(world: World) -> None:
    """Whoever is owed is paid; nobody has to wait, as the log has everything."""
    world.recompute()
    assert world.recompute().waiting == 0
