"""What the kernel promises: one event, many events, or many customers at once: the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import activity, naming
from feature_repo.activity import column, empty, fold, fold_many, stored, terms_of, value_at
from feature_repo.event import Event, EventType, Machine

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

events = st.builds(
    lambda kind, machine, minutes, amount, offset: Event(
        event_id="e",
        type=kind,
        customer_id="c",
        event_time=NOON + timedelta(minutes=minutes),
        received_time=NOON + timedelta(days=900),
        machine=machine,
        amount=amount,
        utc_offset_minutes=offset,
    ),
    kind=st.sampled_from(EventType),
    machine=st.sampled_from(Machine),
    minutes=st.integers(-(10**6), 10**6),
    amount=st.one_of(st.none(), st.floats(0, 1e6)),
    offset=st.one_of(st.none(), st.integers(-720, 840)),
)


def event(kind: EventType = EventType.OPENED, **changes: object) -> Event:
    fields = {"event_id": "e", "customer_id": "c", "event_time": NOON, "received_time": NOON}
    return Event(**{**fields, "type": kind, **changes})  # type: ignore[arg-type]  # any field


def steps(history: Sequence[Event]) -> list[activity.Floats]:
    """The states after each event."""
    return list(accumulate(history, fold, initial=empty()))[1:]


def folded(*history: Event) -> activity.Floats:
    return steps(history)[-1] if history else empty()


def read(state: activity.Floats, name: str) -> float:
    return float(column(stored(state), name)[0])


@settings(deadline=None, max_examples=60)
@given(histories=st.lists(st.lists(events, min_size=1, max_size=20), min_size=1, max_size=12))
def test_folding_many_customers_at_once_gives_the_bits_of_folding_event_by_event(
    histories: list[list[Event]],
) -> None:
    group = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    terms = terms_of([one for history in histories for one in history])
    states = fold_many(terms, group, empty(len(histories)), np.arange(group.size))
    expected = [state for history in histories for state in steps(history)]
    assert states.tobytes() == np.concatenate(expected, axis=1).tobytes()


@settings(deadline=None, max_examples=40)
@given(history=st.lists(events, min_size=2, max_size=40), data=st.data())
def test_a_history_cut_anywhere_and_continued_gives_the_same_bits(
    history: list[Event], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(history) - 1))
    whole = last_state(history, empty())
    assert last_state(history[cut:], last_state(history[:cut], empty())).tobytes() == (
        whole.tobytes()
    )


def last_state(history: list[Event], initial: activity.Floats) -> activity.Floats:
    group = np.zeros(len(history), dtype=np.int64)
    return fold_many(terms_of(history), group, initial, np.array([len(history) - 1]))


@settings(deadline=None, max_examples=40)
@given(history=st.lists(events, max_size=20))
def test_a_stored_state_is_read_back_bit_by_bit(history: list[Event]) -> None:
    state = folded(*history)
    assert activity.from_stored(stored(state)).tobytes() == state.tobytes()


@settings(deadline=None, max_examples=40)
@given(history=st.lists(events, max_size=20), data=st.data())
def test_order_matters_to_nothing_but_the_last_digits(
    history: list[Event], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(history))
    np.testing.assert_allclose(folded(*shuffled), folded(*history), rtol=1e-12)


def test_folding_leaves_the_state_before_as_it_was() -> None:
    before = empty()
    fold(before, event())
    assert (before == empty()).all()


@pytest.mark.parametrize("half_life", naming.HALF_LIVES_DAYS)
def test_a_count_halves_with_every_half_life(half_life: int) -> None:
    state = column(folded(event(), event()), naming.log2_state("opens", half_life))
    later = (NOON + timedelta(days=3 * half_life)).timestamp()
    assert value_at(state, half_life, later)[0] == pytest.approx(2 / 8, rel=1e-12)


def test_revenue_decays_from_the_amount_and_its_total_is_exact() -> None:
    state = folded(*[event(EventType.PURCHASED, amount=0.1)] * 3)
    decayed = value_at(column(state, "revenue_log2_d28"), 28, NOON.timestamp())
    assert decayed[0] == pytest.approx(0.3, rel=1e-12)
    assert read(state, "revenue_total") == 0.3


def test_a_purchase_without_an_amount_counts_but_brings_no_revenue() -> None:
    state = folded(event(EventType.PURCHASED))
    assert read(state, "purchases_total") == 1.0
    assert np.isnan(read(state, "revenue_log2_d7"))


@pytest.mark.parametrize("machine", [Machine.APPLE_MPP, Machine.SCANNER, Machine.GENERIC])
def test_machines_do_not_open(machine: Machine) -> None:
    assert (folded(event(machine=machine)) == empty()).all()


@pytest.mark.parametrize("machine", [Machine.GMAIL_PROXY, Machine.YAHOO_PROXY])
def test_proxies_fetch_for_a_person(machine: Machine) -> None:
    assert read(folded(event(machine=machine)), "opens_total") == 1.0


@pytest.mark.parametrize(
    ("offset", "block"),
    [
        (None, 3),  # 12:00 UTC
        (0, 3),
        (-1, 2),  # 11:59
        (240, 4),  # 16:00
        (720, 0),  # midnight, the next day
        (-721, 5),  # 23:59, the day before
    ],
)
def test_engagement_is_counted_in_the_customers_local_block(offset: int | None, block: int) -> None:
    state = folded(event(utc_offset_minutes=offset))
    filled = [b for b in range(naming.BLOCKS) if not np.isnan(read(state, naming.block_state(b)))]
    assert filled == [block]


def test_first_and_last_times_hold_whatever_the_order_of_arrival() -> None:
    early, late = (event(event_time=NOON + timedelta(hours=h)) for h in (0, 5))
    state = folded(late, early)
    assert read(state, "first_event_at") == early.event_time.timestamp()
    assert read(state, "last_event_at") == late.event_time.timestamp()
    assert np.isnan(read(state, "first_purchase_at"))


def test_a_long_history_beside_short_ones_is_folded_in_order() -> None:
    long = [event(event_time=NOON + timedelta(minutes=n)) for n in range(500)]
    group = np.concatenate([np.zeros(500, dtype=np.int64), np.arange(1, 12)])
    terms = terms_of([*long, *[event()] * 11])
    states = fold_many(terms, group, empty(12), np.array([499, 510]))
    assert states[:, :1].tobytes() == folded(*long).tobytes()
    assert states[:, 1:].tobytes() == folded(event()).tobytes()
