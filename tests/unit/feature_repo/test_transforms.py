"""send_time: right at every time, whole with nothing known, blind to nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import naming
from feature_repo.transforms import (
    PLACEMENT_INPUTS,
    SEND_TIME,
    SEND_TIME_INPUTS,
    send_time,
)

DAY_S = 86_400.0
AT = 20_000 * DAY_S  # 2024-10-04, a Friday, at midnight UTC


def read(at: float = AT, **known: float) -> dict[str, float]:
    """The features of one customer of whom only `known` is stored."""
    columns = {name: np.array([known.get(name, math.nan)]) for name in SEND_TIME_INPUTS}
    return {name: float(values[0]) for name, values in send_time(columns, [at]).items()}


def log2_sum(days: list[float], half_life: int, weights: list[float] | None = None) -> float:
    """The stored state of events at some days, by the definition."""
    parts = zip(weights or [1.0] * len(days), days, strict=True)
    return float(np.logaddexp2.reduce([math.log2(w) + day / half_life for w, day in parts]))


def test_a_decayed_value_is_the_sum_of_the_decayed_events() -> None:
    days = [19_990.0, 19_970.5, 19_000.0]
    state = {"opens_log2_d28": log2_sum(days, 28), "last_open_at": 19_990 * DAY_S}

    expected = sum(2 ** (-(20_000 - day) / 28) for day in days)
    assert read(**state)["opens_d28"] == pytest.approx(expected, rel=1e-11)


def test_revenue_decays_by_the_time_of_the_purchases() -> None:
    state = log2_sum([19_993.0, 19_986.0], 7, [80.0, 20.0])
    held = {"revenue_log2_d7": state, "last_purchase_at": 19_993 * DAY_S}

    assert read(**held)["revenue_d7"] == pytest.approx(80 / 2 + 20 / 4, rel=1e-11)


def test_nothing_known_is_nothing_counted_and_no_opinion() -> None:
    features = read()

    decayed = {naming.decayed(m.plural, h) for m in naming.MEASURES for h in naming.HALF_LIVES_DAYS}
    clock = {"local_hour": 0.0, "local_weekday": 4.0}
    assert {name: features[name] for name in decayed} == dict.fromkeys(decayed, 0.0)
    assert {name: features[name] for name in clock} == clock
    rest = set(SEND_TIME) - decayed - clock.keys()
    assert all(math.isnan(features[name]) for name in rest)


def test_a_rate_needs_a_denominator_and_not_a_numerator() -> None:
    sent = {"sends_log2_d28": log2_sum([19_990.0] * 4, 28)}

    assert read(**sent)["opens_per_sends_d28"] == 0.0
    assert math.isnan(read(**sent)["clicks_per_opens_d28"])
    opened = {"opens_log2_d28": log2_sum([19_990.0], 28)}
    assert read(**sent, **opened)["opens_per_sends_d28"] == pytest.approx(0.25)
    assert math.isnan(read(**opened)["opens_per_sends_d28"])


def test_a_rate_survives_any_silence() -> None:
    state = {"sends_log2_d7": log2_sum([11_000.0] * 2, 7), "opens_log2_d7": log2_sum([11_000.0], 7)}

    features = read(**state)

    assert features["sends_d7"] == 0.0  # 1,285 half-lives ago: below the smallest double
    assert features["opens_per_sends_d7"] == pytest.approx(0.5)


def test_a_steady_pace_has_the_trend_of_its_memories() -> None:
    days = [20_000.0 - day for day in range(4_000)]
    state = {naming.log2_state("sends", h): log2_sum(days, h) for h in (7, 112)}

    assert read(**state, last_send_at=AT)["sends_trend"] == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("hours_since_last_click", {"last_click_at": AT - 7_200}, 2.0),
        ("tenure_days", {"first_event_at": AT - 10 * DAY_S}, 10.0),
        ("average_order_value", {"revenue_total": 90.0, "purchases_total": 3.0}, 30.0),
        ("average_order_value", {"revenue_total": 0.0, "purchases_total": 0.0}, math.nan),
        ("refund_rate", {"refunds_total": 1.0, "purchases_total": 4.0}, 0.25),
        # Three orders over twenty days: a gap of ten; thirty days of silence are three gaps.
        ("order_gap_days", {"purchases_total": 3.0}, 10.0),
        ("overdue_ratio", {"purchases_total": 3.0}, 3.0),
        # One order has no gap.
        ("order_gap_days", {"purchases_total": 1.0}, math.nan),
        ("overdue_ratio", {"purchases_total": 1.0}, math.nan),
        # All orders at once have a gap, of nothing, that none can be overdue by.
        ("order_gap_days", {"purchases_total": 3.0, "first_purchase_at": AT - 30 * DAY_S}, 0.0),
        ("overdue_ratio", {"purchases_total": 3.0, "first_purchase_at": AT - 30 * DAY_S}, math.nan),
        ("local_hour", {"utc_offset_minutes": -90.0}, 22.0),
        ("local_weekday", {"utc_offset_minutes": -90.0}, 3.0),
        ("local_hour", {"utc_offset_minutes": 330.0}, 5.0),
    ],
)
def test_single_features(name: str, known: dict[str, float], expected: float) -> None:
    orders = {"first_purchase_at": AT - 50 * DAY_S, "last_purchase_at": AT - 30 * DAY_S}

    assert read(**(orders | known))[name] == pytest.approx(expected, nan_ok=True)


def test_affinity_is_the_share_of_the_local_block_of_the_send() -> None:
    held = {"engagement_block0_log2_d28": 700.0, "engagement_block5_log2_d28": 702.0}

    assert read(**held)["block_affinity"] == pytest.approx(0.2)
    assert read(**held, utc_offset_minutes=-60.0)["block_affinity"] == pytest.approx(0.8)
    assert read(AT + 5 * 3_600, **held)["block_affinity"] == 0.0


def test_an_event_after_the_send_counts_as_of_the_send() -> None:
    future = AT + 300.0
    held = {naming.last_at(m.singular): future for m in naming.LAST_AT}
    held |= {"opens_log2_d7": log2_sum([future / DAY_S], 7), "first_event_at": future}

    features = read(**held)

    assert features["hours_since_last_open"] == 0.0
    assert features["tenure_days"] == 0.0
    assert features["opens_d7"] == pytest.approx(1.0)


def test_a_send_without_a_time_has_no_features() -> None:
    assert all(math.isnan(value) for value in read(math.nan, sends_total=1.0).values())


def test_a_purchase_for_nothing_is_no_revenue() -> None:
    held = {naming.log2_state("revenue", h): -math.inf for h in naming.HALF_LIVES_DAYS}

    assert read(**held, last_purchase_at=AT)["revenue_d28"] == 0.0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.floats(-1e12, 1e12))
def test_each_row_is_computed_alone_and_never_fails(seed: int, rows: int, at: float) -> None:
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.integers(-3, 13, (len(SEND_TIME_INPUTS), rows))
    held = np.where(rng.random(sizes.shape) < 0.2, np.nan, rng.normal(size=sizes.shape) * sizes)
    columns = dict(zip(SEND_TIME_INPUTS, held, strict=True))

    together = send_time(columns, np.full(rows, at))

    for i in range(rows):
        alone = send_time({name: values[i : i + 1] for name, values in columns.items()}, [at])
        for name in SEND_TIME:
            np.testing.assert_allclose(alone[name][0], together[name][i], rtol=1e-12)


def seen_until(days_ago: float, **more: float) -> dict[str, float]:
    """Someone who opened, clicked and bought so long ago, and not since."""
    at = AT - days_ago * DAY_S
    names = ("last_open_at", "last_click_at", "last_purchase_at", "last_send_at")
    states = {naming.log2_state(m, 7): at / DAY_S / 7 for m in ("opens", "clicks", "purchases")}
    return {**dict.fromkeys(names, at), **states, naming.SEEN_THROUGH_AT: at, **more}


def test_opens_and_clicks_are_read_where_the_exposure_clock_stands() -> None:
    features = read(**seen_until(17.0, unseen_days=14.0))

    assert features["hours_since_last_open"] == pytest.approx(72.0)
    assert features["hours_since_last_click"] == pytest.approx(72.0)
    assert features["opens_d7"] == pytest.approx(2 ** (-3 / 7))
    # What does not depend on mail keeps the calendar.
    assert features["hours_since_last_purchase"] == pytest.approx(17 * 24.0)
    assert features["hours_since_last_send"] == pytest.approx(17 * 24.0)
    assert features["purchases_d7"] == pytest.approx(2 ** (-17 / 7))


@pytest.mark.parametrize(
    "newer",
    [
        # The stream knows of a click after the midnight of the unseen days.
        {"last_click_at": AT - DAY_S},
        {"last_open_at": AT - 16 * DAY_S},
        # Whoever was never seen has nothing to read late.
        {"last_open_at": AT - 16 * DAY_S, naming.SEEN_THROUGH_AT: math.nan},
    ],
)
def test_a_newer_open_or_click_lets_the_clock_run_again(newer: dict[str, float]) -> None:
    held = seen_until(17.0) | newer

    assert read(**held, unseen_days=14.0) == pytest.approx(read(**held), nan_ok=True)


def test_rates_are_per_send_that_was_seen() -> None:
    held = {
        "sends_log2_d28": log2_sum([19_990.0] * 4, 28),
        "opens_log2_d28": log2_sum([19_990.0], 28),
        "clicks_log2_d28": log2_sum([19_990.0], 28),
    }
    half = {"unseen_sends_log2_d28": log2_sum([19_990.0] * 2, 28)}
    every = {"unseen_sends_log2_d28": log2_sum([19_990.0] * 4, 28)}

    assert read(**held, **half)["opens_per_sends_d28"] == pytest.approx(0.5)
    assert read(**held, **half)["clicks_per_opens_d28"] == pytest.approx(1.0)
    assert read(**held, **every)["opens_per_sends_d28"] == pytest.approx(1.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.booleans())
def test_with_all_mail_seen_every_feature_is_the_same_bit_for_bit(
    seed: int, rows: int, is_known: bool
) -> None:
    rng = np.random.default_rng(seed)
    days = 20_000 - 400 * rng.random((len(SEND_TIME_INPUTS), rows))
    held = np.where(rng.random(days.shape) < 0.2, np.nan, days * DAY_S)
    columns = dict(zip(SEND_TIME_INPUTS, held, strict=True))
    columns |= {n: columns[n] / DAY_S / 28 for n in SEND_TIME_INPUTS if "_log2_d" in n}
    nowhere = {name: np.full(rows, np.nan) for name in PLACEMENT_INPUTS}
    # A row of someone whose mail was unseen once, and is seen again.
    recovered = {**nowhere, naming.UNSEEN_DAYS: np.zeros(rows)} if is_known else nowhere
    recovered[naming.SEEN_THROUGH_AT] = columns["last_open_at"]

    plain = send_time({**columns, **nowhere}, np.full(rows, AT))
    again = send_time({**columns, **recovered}, np.full(rows, AT))

    assert {n: v.tobytes() for n, v in plain.items()} == {n: v.tobytes() for n, v in again.items()}
    # Read without the exposure clock: times from the calendar, shares of all sends.
    for singular, plural in (("open", "opens"), ("click", "clicks")):
        hours = np.maximum(AT - columns[f"last_{singular}_at"], 0.0) / 3_600
        np.testing.assert_array_equal(plain[f"hours_since_last_{singular}"], hours)
        part, whole = columns[f"{plural}_log2_d28"], columns["sends_log2_d28"]
        share = np.exp2(np.where(np.isnan(part), -np.inf, part) - whole)
        np.testing.assert_array_equal(plain[f"{plural}_per_sends_d28"], share)
