from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from serving.calibrator import Isotonic, Platt, sigmoid
from training.calibration import (
    LEAST_FOR_ISOTONIC,
    Judged,
    as_whole,
    fit_calibrator,
    fit_isotonic,
    fit_platt,
)
from training.evaluation import (
    calibration_error,
    calibration_slope,
    evaluate,
    log_losses,
    top_decile_lift,
)
from training.weighting import level_shift


def drawn(rows: int, spread: float = 1.0, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Margins, and labels that are drawn from them."""
    random = np.random.default_rng(seed)
    margin = random.normal(-1.0, spread, rows)
    return margin, (random.uniform(size=rows) < sigmoid(margin)).astype(np.int8)


def test_the_metrics_are_those_of_scikit_learn() -> None:
    margin, label = drawn(2_000)
    score = sigmoid(margin)

    found = evaluate(score, label)

    assert found.auc == pytest.approx(roc_auc_score(label, score))
    assert found.log_loss == pytest.approx(log_loss(label, score))


def test_true_probabilities_have_slope_one_and_nearly_no_calibration_error() -> None:
    margin, label = drawn(50_000)

    assert calibration_slope(sigmoid(margin), label) == pytest.approx(1.0, abs=0.05)
    assert calibration_error(sigmoid(margin), label) < 0.01


def test_over_confident_scores_have_a_slope_below_one() -> None:
    margin, label = drawn(50_000)

    assert calibration_slope(sigmoid(2 * margin), label) == pytest.approx(0.5, abs=0.03)


def test_constant_scores_have_slope_zero_and_lift_of_chance() -> None:
    label = np.tile([0, 1], 500).astype(np.int8)

    assert calibration_slope(np.full(1000, 0.3), label) == 0.0
    assert top_decile_lift(np.full(1000, 0.3), label) == pytest.approx(1.0)


def test_a_certain_and_wrong_score_has_a_finite_loss() -> None:
    assert np.isfinite(log_losses(np.array([0.0, 1.0]), np.array([1, 0], dtype=np.int8))).all()


def test_platt_undoes_over_confidence() -> None:
    margin, label = drawn(50_000)

    fitted = fit_platt(2 * margin, label)

    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(0.0, abs=0.05)


def test_platt_never_turns_the_ranking_round() -> None:
    margin, label = drawn(2_000)

    assert fit_platt(-margin, label) == Platt(1.0, 0.0)


def test_isotonic_rises_and_never_says_never() -> None:
    margin, label = drawn(5_000)

    fitted = fit_isotonic(margin, label)

    assert (np.diff(fitted.probabilities) >= 0).all()
    assert 0.0 < fitted.probabilities[0] < fitted.probabilities[-1] < 1.0


def test_isotonic_of_equal_margins_is_one_knot() -> None:
    assert len(fit_isotonic(np.zeros(200), np.tile([0, 1], 100).astype(np.int8)).margins) == 1


def a_fold(margin: np.ndarray, label: np.ndarray, share: float = 1.0) -> Judged:
    customer = np.array([f"c{i}" for i in range(len(label))], dtype=object)
    return Judged(margin, label, np.ones(len(label)), customer, share)


def test_a_curved_margin_with_rows_enough_is_calibrated_by_isotonic_else_by_platt() -> None:
    folds = [drawn(20_000, seed=seed) for seed in (1, 2, 3)]
    curved = [a_fold(np.sign(margin) * margin**2, label) for margin, label in folds]

    assert min(fold.label.sum() for fold in curved) > LEAST_FOR_ISOTONIC
    assert isinstance(fit_calibrator(curved), Isotonic)
    assert isinstance(fit_calibrator([a_fold(*fold) for fold in folds]), Platt)
    assert isinstance(fit_calibrator([fold.take(np.arange(300)) for fold in curved]), Platt)


def test_a_level_that_drifts_from_fold_to_fold_does_not_bend_the_calibrator() -> None:
    folds = [drawn(20_000, seed=seed) for seed in (1, 2)]
    shifted = [a_fold(folds[0][0] + 1.0, folds[0][1]), a_fold(folds[1][0] - 1.0, folds[1][1])]

    fitted = fit_calibrator(shifted)

    assert isinstance(fitted, Platt)
    assert fitted.slope == pytest.approx(1.0, abs=0.06)
    assert fitted.intercept == pytest.approx(0.0, abs=0.06)


def test_the_over_confidence_of_a_fit_on_fewer_rows_is_not_held_against_the_whole() -> None:
    margin, label = drawn(50_000)

    slopes = [
        fit_platt(as_whole(a_fold(2 * margin, label, share)), label).slope
        for share in (1.0, 0.5, 0.1)
    ]

    # The fold's slope is one half: 1 - share * (1 - 0.5) is expected of the whole.
    assert slopes == pytest.approx([0.5, 0.75, 0.95], abs=0.02)


def test_the_under_confidence_of_a_fold_stays_as_it_was_measured() -> None:
    margin, label = drawn(50_000)

    found = fit_platt(as_whole(a_fold(0.5 * margin, label, 0.1)), label)

    assert found.slope == pytest.approx(2.0, abs=0.1)


def test_a_weight_counts_like_that_many_rows_in_every_metric_and_calibrator() -> None:
    margin, label = drawn(3_000)
    weight = np.where(np.arange(3_000) % 3 == 0, 2.0, 1.0)
    repeated = np.repeat(np.arange(3_000), weight.astype(int))
    score = sigmoid(1.4 * margin)

    weighted = evaluate(score, label, weight).as_dict()
    copied = evaluate(score[repeated], label[repeated]).as_dict()

    # Bins and the tenth are of rows, so their edges lie a little apart.
    loose = {"calibration_error": 0.02, "top_decile_lift": 0.1}
    for name, value in copied.items():
        assert weighted[name] == pytest.approx(value, abs=loose.get(name, 1e-9)), name
    platt = fit_platt(margin, label, weight)
    assert platt.slope == pytest.approx(fit_platt(margin[repeated], label[repeated]).slope)


def test_weights_of_one_change_no_bit() -> None:
    margin, label = drawn(3_000)
    ones = np.ones(3_000)

    assert evaluate(sigmoid(margin), label, ones) == evaluate(sigmoid(margin), label)
    assert fit_platt(margin, label, ones) == fit_platt(margin, label)
    assert fit_isotonic(margin, label, ones) == fit_isotonic(margin, label)


def test_the_slope_is_that_of_a_logistic_regression_without_penalty() -> None:
    margin, label = drawn(4_000)
    plain = LogisticRegression(C=1e9, solver="newton-cholesky", max_iter=200)
    plain.fit(margin.reshape(-1, 1), label)

    found = fit_platt(margin, label)

    assert found.slope == pytest.approx(float(plain.coef_[0, 0]), abs=1e-6)
    assert found.intercept == pytest.approx(float(plain.intercept_[0]), abs=1e-6)


def test_the_slope_of_scores_that_part_the_labels_without_fault_is_finite() -> None:
    label = np.repeat([0, 1], 50).astype(np.int8)

    assert np.isfinite(calibration_slope(np.where(label == 1, 0.9, 0.1), label))


@given(st.floats(-5, 5))
def test_the_level_shift_makes_the_mean_score_the_rate(moved: float) -> None:
    margin, label = drawn(500)

    shift = level_shift(margin + moved, label)

    assert sigmoid(margin + moved + shift).mean() == pytest.approx(label.mean(), abs=1e-9)
