from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from monitoring.statistics import (
    Shift,
    Sizes,
    mean_shift,
    measure,
    qpsi_floor,
    quantile_qpsi,
    share_floor,
)
from serving.bins import qpsi
from serving.profile import histogram, profile

SIZES = Sizes(launch=10_000, current=1_000, checks=41)


def test_the_floor_is_the_formula_of_the_chi_squared_distribution() -> None:
    expected = stats.chi2.ppf(1 - 0.001 / 41, 22) * (1 / 10_000 + 1 / 1_000)

    assert qpsi_floor(23, SIZES) == pytest.approx(expected)


def test_noise_alone_stays_below_the_floor_of_any_size() -> None:
    rng = np.random.default_rng(0)
    cells = np.full(20, 1 / 20)
    for size in (100, 1000, 100_000):
        sizes = Sizes(launch=10_000, current=size, checks=50)
        noise = [
            qpsi(rng.multinomial(10_000, cells), rng.multinomial(size, cells)) for _ in range(50)
        ]

        assert max(noise) < qpsi_floor(20, sizes)
        # A floor far above the noise would see nothing.
        assert max(noise) > qpsi_floor(20, sizes) / 4


def test_more_checks_raise_the_floor_and_more_customers_lower_it() -> None:
    base = qpsi_floor(20, SIZES)

    assert qpsi_floor(20, Sizes(10_000, 1_000, 400)) > base
    assert qpsi_floor(20, Sizes(10_000, 5_000, 41)) < base


def test_a_share_of_exactly_zero_still_has_noise() -> None:
    assert share_floor(0.0, 0.0, SIZES) > 0


def test_a_shift_must_pass_both_the_threshold_and_the_noise() -> None:
    assert Shift(0.0, 0.03, floor=0.01).exceeds(0.02)
    assert not Shift(0.0, 0.03, floor=0.05).exceeds(0.02)
    assert not Shift(0.0, 0.01, floor=0.001).exceeds(0.02)
    assert Shift(0.3, 0.1, floor=0.01).exceeds(0.02)


def test_the_mean_of_no_finite_values_never_exceeds_anything() -> None:
    shift = mean_shift(0.0, np.array([np.nan, np.inf]), 1.0, SIZES)

    assert math.isnan(shift.delta)
    assert not shift.exceeds(0.05)


def test_a_value_that_is_frequent_only_now_is_noticed_beside_a_more_frequent_one() -> None:
    rng = np.random.default_rng(0)
    launch = np.where(rng.random(5000) < 0.4, 0.0, rng.lognormal(3, 1, 5000))
    now = np.minimum(launch, np.quantile(launch, 0.9))
    column = profile(launch)

    movement = measure(column, histogram(column, now), now, Sizes(5000, 5000, 10))

    assert movement.valued == now.max()
    assert movement.value is not None
    assert movement.value.now == pytest.approx(0.1, abs=0.001)


def test_a_fault_in_a_long_tail_does_not_hide_behind_more_data() -> None:
    rng = np.random.default_rng(1)
    for rows in (1000, 100_000):
        spend = np.where(rng.random(rows) < 0.3, 0.0, rng.lognormal(3, 1.5, rows))

        assert quantile_qpsi(spend, spend * 100) > 3


def test_the_statistic_in_the_report_is_that_of_the_decision() -> None:
    rng = np.random.default_rng(2)
    launch, now = rng.gamma(2, 3, 4000), rng.gamma(2.5, 3, 2000)
    column = profile(launch)

    decided = measure(column, histogram(column, now), now, Sizes(4000, 2000, 1)).qpsi

    assert quantile_qpsi(launch, now) == decided
