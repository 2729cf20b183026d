"""What folding promises without a store: each row once, in any order, and doubt is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import activity, naming
from feature_repo.event import Event, EventType, Machine, Op
from feature_repo.stream import online_fields, online_recent
from feature_repo.stream.online_fold import Folding, row_of
from feature_repo.stream.online_recent import KEEP
from feature_repo.stream.online_state import StreamState, decode, empty, encode, from_loaded

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

events = st.builds(
    lambda number, kind, machine, minutes, lag, amount, offset, country: Event(
        event_id=f"e{number}",
        type=kind,
        customer_id="c",
        event_time=NOON + timedelta(minutes=minutes),
        received_time=NOON + timedelta(minutes=minutes + lag),
        machine=machine,
        amount=amount,
        utc_offset_minutes=offset,
        country=country,
    ),
    number=st.integers(0, 10**9),
    kind=st.sampled_from(EventType),
    machine=st.sampled_from(Machine),
    minutes=st.integers(-(10**6), 10**6) | st.integers(0, 3),
    lag=st.integers(0, 10**4),
    amount=st.none() | st.floats(0, 1e6),
    offset=st.none() | st.integers(-720, 840),
    country=st.sampled_from([None, None, "GB", "FR"]),
)
histories = st.lists(events, max_size=KEEP, unique_by=lambda event: event.event_id)


def event(number: int = 0, kind: EventType = EventType.CLICKED, **changes: object) -> Event:
    fields = {"event_id": f"e{number}", "customer_id": "c", "event_time": NOON + number * HOUR}
    fields |= {"received_time": NOON + 1000 * HOUR} | changes
    return Event(**{**fields, "type": kind})  # type: ignore[arg-type]  # any field


def fold(history: list[Event], state: StreamState | None = None) -> StreamState:
    """The state after some events, written and read after each."""
    state = empty() if state is None else state
    for one in history:
        folding = Folding(state)
        assert folding.take(row_of(one))
        written = decode(encode(folding.finish()))
        assert written is not None
        state = written
    return state


def owed(state: StreamState, one: Event) -> bool:
    return not Folding(state).take(row_of(one))


def columns(state: StreamState) -> list[bytes]:
    return online_fields.values(state, range(online_fields.COLUMNS))


@settings(deadline=None)
@given(history=histories, data=st.data())
def test_order_and_repetition_leave_no_trace(history: list[Event], data: st.DataObject) -> None:
    repeated = data.draw(st.lists(st.sampled_from(history), max_size=9)) if history else []
    shuffled = data.draw(st.permutations([*history, *repeated]))

    one, other = fold(history), fold(shuffled)

    assert encode(one)[8:] == encode(other)[8:]
    assert columns(one) == columns(other)


@settings(deadline=None)
@given(history=histories)
def test_many_rows_at_once_are_as_one_by_one(history: list[Event]) -> None:
    folding = Folding(empty())
    for one in history:
        folding.take(row_of(one))
    assert encode(folding.finish())[8:] == encode(fold(history))[8:]


@settings(deadline=None)
@given(history=histories)
def test_values_are_those_of_the_kernel(history: list[Event]) -> None:
    terms = activity.terms_of(history)
    group = np.zeros(len(history), dtype=np.int64)
    last = np.array([len(history) - 1]) if history else np.zeros(0, dtype=np.int64)
    states = activity.fold_many(terms, group, activity.empty(), last)
    expected = activity.stored(states)[:, 0] if history else np.full(len(naming.ACTIVITY), np.nan)
    state = fold(history)
    values = [online_fields.value(state, i) for i in range(len(naming.ACTIVITY))]
    got = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    if not state.counted:
        # Without a counted event there is no row at all.
        got = np.where(np.isnan(got) & (expected == 0.0), 0.0, got)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@settings(deadline=None)
@given(history=histories.filter(bool))
def test_changed_columns_are_all_that_changed(history: list[Event]) -> None:
    before = fold(history[:-1])
    was = [online_fields.value(before, i) for i in range(online_fields.COLUMNS)]
    folding = Folding(before)
    folding.take(row_of(history[-1]))
    after = folding.finish()
    now = [online_fields.value(after, i) for i in range(online_fields.COLUMNS)]
    assert {i for i, (a, b) in enumerate(zip(was, now, strict=True)) if a != b} <= folding.changed


def test_a_row_seen_before_changes_nothing() -> None:
    state = fold([event(1), event(2)])
    folding = Folding(state)
    assert folding.take(row_of(event(1, received_time=NOON + 5000 * HOUR)))
    assert not folding.touched


@pytest.mark.parametrize(
    "doubtful",
    [
        event(1, country="FR"),  # another content of a known event
        event(9, op=Op.RETRACT),
    ],
)
def test_what_corrects_or_withdraws_is_not_folded_but_owed(doubtful: Event) -> None:
    state = fold([event(1), event(2)])
    before = columns(state)
    assert owed(state, doubtful)
    assert columns(state) == before
    assert online_recent.holds(state.waiting, row_of(doubtful).content_key)


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_what_a_state_forgets_does_not_depend_on_order(data: st.DataObject) -> None:
    many = [event(n, event_time=NOON + (n // 3) * HOUR) for n in range(KEEP + 9)]
    rows = [row_of(one) for one in many]
    records = [online_recent.record(r.time_us, r.event_key, r.content_key) for r in rows]
    recent, horizon = b"", None
    for one in data.draw(st.permutations(records)):
        recent, pruned = online_recent.remember(recent, one)
        if pruned is not None:
            horizon = pruned if horizon is None else max(horizon, pruned)
    assert (recent, horizon) == online_recent.remembered(records)


def test_what_happened_up_to_the_horizon_is_owed_and_later_late_events_are_folded() -> None:
    state = fold([event(n) for n in range(KEEP + 10)])
    assert owed(state, event(9, event_id="unknown"))
    folding = Folding(state)
    assert folding.take(row_of(event(10, event_id="late", event_time=NOON + 10.5 * HOUR)))


def test_a_loaded_row_is_continued_and_what_may_be_in_it_is_owed() -> None:
    known = NOON + 3 * HOUR
    values: dict[str, object] = {name: np.array([np.nan]) for name in naming.ACTIVITY}
    values |= {name: np.array([None]) for name in naming.PROFILE_TEXT}
    values |= {"clicks_total": np.array([3.0]), "revenue_total": np.array([12.34])}
    values |= {"clicks_log2_d7": np.array([2_930.5]), "is_subscribed": np.array([0.0])}
    values |= {"country": np.array(["GB"], dtype=object), "utc_offset_minutes": np.array([60.0])}
    state = from_loaded(values, 0, known.timestamp(), known.timestamp())  # type: ignore[arg-type]

    assert owed(state, event(1, received_time=known))
    after = fold([event(9, received_time=known + HOUR)], state)

    total = len(naming.ACTIVITY) - len(naming.TOTALS)
    names = naming.ACTIVITY[total:]
    assert online_fields.value(after, total + names.index("clicks_total")) == 4.0
    assert online_fields.value(after, total + names.index("revenue_total")) == 12.34
    assert online_fields.value(after, len(naming.ACTIVITY)) == "GB"


def test_bytes_of_another_version_are_no_state() -> None:
    assert decode(b"12345678\x91\x01") is None
    assert decode(encode(empty())) == empty()
