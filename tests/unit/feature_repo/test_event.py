"""The canonical event's own rules."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.event import (
    CLOCK_SKEW,
    CONTENT_FIELDS,
    EARLIEST,
    LARGEST_AMOUNT,
    amount_micros,
    check_amount,
    check_times,
    deterministic_id,
)

NOON = datetime(2024, 3, 4, 12, tzinfo=UTC)
PARTS = st.lists(st.none() | st.text(), max_size=4)


def test_an_event_may_be_ahead_of_our_clock_by_the_skew_and_no_more() -> None:
    assert check_times(NOON + CLOCK_SKEW, NOON) is None
    assert check_times(NOON + CLOCK_SKEW + timedelta(microseconds=1), NOON) is not None


def test_an_event_before_there_were_programmes_is_a_broken_clock() -> None:
    assert check_times(EARLIEST, NOON) is None
    assert "before 2000-01-01" in (check_times(EARLIEST - timedelta(microseconds=1), NOON) or "")


@pytest.mark.parametrize("amount", [None, 0.0, 12.34, LARGEST_AMOUNT])
def test_an_amount_may_be_missing_or_from_zero_to_the_largest(amount: float | None) -> None:
    assert check_amount(amount) is None


@pytest.mark.parametrize("amount", [math.nan, math.inf, -math.inf, -0.01, LARGEST_AMOUNT * 1.01])
def test_an_impossible_amount_is_named(amount: float) -> None:
    assert str(amount)[:4] in (check_amount(amount) or "")


@given(st.decimals(0, 10**9, places=2))
def test_cents_are_exact_in_micros(amount: Decimal) -> None:
    assert int(amount * 1_000_000) == amount_micros(float(amount))


@given(PARTS, PARTS)
def test_ids_are_equal_exactly_when_all_parts_are(left: list[str], right: list[str]) -> None:
    same = deterministic_id("shop", *left) == deterministic_id("shop", *right)

    assert (left == right) == same


def test_an_id_is_the_same_in_every_version() -> None:
    assert deterministic_id("shop", "order-1", None) == "c6820da6d3ac8962baa21ca24e034add"


def test_how_a_row_reached_us_is_not_its_content() -> None:
    assert not {"received_time", "raw_ref", "mapping_version", "backfilled"} & set(CONTENT_FIELDS)
