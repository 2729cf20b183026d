from __future__ import annotations

import numpy as np
import pytest

from serving.calibrator import sigmoid
from training.evaluation import evaluate
from training.intervals import _Slope, bootstrap_intervals
from training.weighting import fit_line


def drawn(rows: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    margin = random.normal(-1.0, 1.0, rows)
    return margin, (random.uniform(size=rows) < sigmoid(margin)).astype(np.int8)


def customers(count: int, rows: int) -> np.ndarray:
    return np.array([f"c{i % count}" for i in range(rows)], dtype=object)


def test_intervals_hold_their_metric_and_narrow_with_customers() -> None:
    margin, label = drawn(8_000)
    score, ones = sigmoid(margin), np.ones(8_000)

    few = bootstrap_intervals(score[:800], label[:800], ones[:800], customers(800, 800), seed=0)
    many = bootstrap_intervals(score, label, ones, customers(8_000, 8_000), seed=0)

    found = evaluate(score, label).as_dict()
    for name, (low, high) in many.items():
        assert low < found[name] < high, name
        assert high - low < 0.6 * (few[name][1] - few[name][0]), name


def test_rows_of_one_customer_do_not_count_as_independent() -> None:
    margin, label = drawn(400)
    copies = np.repeat(np.arange(400), 10)
    score, same, ones = sigmoid(margin)[copies], label[copies], np.ones(4_000)

    alike = bootstrap_intervals(score, same, ones, customers(400, 400)[copies], seed=0)
    apart = bootstrap_intervals(score, same, ones, customers(4_000, 4_000), seed=0)

    for name, (low, high) in alike.items():
        assert high - low > 2 * (apart[name][1] - apart[name][0]), name


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """The true slope is one; of 40 intervals of 95 % about two miss it."""
    missed = 0
    for seed in range(40):
        margin, label = drawn(500, seed)
        low, high = bootstrap_intervals(
            sigmoid(margin), label, np.ones(500), customers(500, 500), seed=seed
        )["calibration_slope"]
        missed += not low < 1.0 < high

    assert 0 < missed <= 6


def test_the_slope_on_bins_is_the_slope_on_rows() -> None:
    margin, label = drawn(20_000)
    weight = np.random.default_rng(3).poisson(1.0, 20_000).astype(np.float64)

    found = _Slope(sigmoid(1.5 * margin), label, np.ones(20_000)).under(weight)

    assert found == pytest.approx(fit_line(1.5 * margin, label, weight)[0], abs=2e-3)


def test_constant_scores_have_slope_zero_and_one_label_has_no_interval() -> None:
    label = np.tile([0, 1], 100).astype(np.int8)
    same, ones = np.full(200, 0.4), np.ones(200)

    assert bootstrap_intervals(same, label, ones, customers(200, 200), seed=0)[
        "calibration_slope"
    ] == (0.0, 0.0)
    lone = customers(1, 200)
    assert np.isfinite(bootstrap_intervals(same, label, ones, lone, seed=0)["auc"]).all()
