"""What exact sums promise: the same bits in any order, and the value the kernel comes to."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo import activity, exact, naming

DAY_US = 86_400_000_000
times = st.integers(10_957 * DAY_US, 29_220 * DAY_US)  # 2000 to 2050
half_lives = st.sampled_from(naming.HALF_LIVES_DAYS)


def term(time_us: int, half_life: int, weight: int = 1) -> exact.Sum:
    mantissa, exponent = exact.power(time_us, exact.period(half_life))
    return mantissa * weight, exponent


def total(terms: list[exact.Sum]) -> exact.Sum:
    return reduce(exact.add, terms, exact.ZERO)


@given(half_life=half_lives, data=st.data())
def test_any_order_and_grouping_gives_the_same_bytes(half_life: int, data: st.DataObject) -> None:
    weighted = st.tuples(times, st.integers(1, 10**15))
    terms = [term(t, half_life, w) for t, w in data.draw(st.lists(weighted, max_size=30))]
    shuffled = data.draw(st.permutations(terms))
    cut = data.draw(st.integers(0, len(terms)))
    grouped = exact.add(total(shuffled[:cut]), total(shuffled[cut:]))

    expected = exact.canonical(total(terms))

    assert exact.canonical(grouped) == expected
    assert exact.pack(exact.canonical(grouped)[0]) == exact.pack(expected[0])
    assert exact.log2(grouped) == exact.log2(total(terms))


@given(seen=st.lists(times, min_size=1, max_size=40), half_life=half_lives)
def test_the_value_is_that_of_the_kernel(seen: list[int], half_life: int) -> None:
    clicked = activity.KINDS.index(naming.EventType.CLICKED)
    zeros = np.zeros(len(seen), dtype=np.int64)
    terms = activity.Terms(zeros + clicked, np.array(seen), zeros, zeros)
    states = activity.fold_many(terms, zeros, activity.empty(), np.array([len(seen) - 1]))
    by_kernel = float(activity.column(states, naming.log2_state("clicks", half_life))[0])

    ours = exact.log2(total([term(t, half_life) for t in seen]))

    assert ours == pytest.approx(by_kernel, rel=1e-12)


@given(st.floats(1_000, 5_000), st.sampled_from([1, 1_000_000]))
def test_a_stored_logarithm_comes_back(value: float, unit: int) -> None:
    assert exact.log2(exact.from_log2(value, unit), unit) == pytest.approx(value, rel=1e-15)


@given(st.lists(times, min_size=1, max_size=5))
def test_the_canonical_form_is_odd_and_stands_for_the_same(seen: list[int]) -> None:
    value = total([term(t, 7) for t in seen])
    mantissa, exponent = exact.canonical(value)
    assert mantissa % 2 == 1
    assert exact.unpack(exact.pack(mantissa)) == mantissa
    assert (mantissa << exponent) == (value[0] << value[1])


def test_nothing_is_minus_infinity() -> None:
    assert exact.log2(exact.ZERO) == -math.inf
    assert exact.from_log2(math.nan) == exact.ZERO
    assert exact.pack(0) == b""
