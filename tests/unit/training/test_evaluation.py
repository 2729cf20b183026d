from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from serving.calibrator import Isotonic, Platt, sigmoid
from training.calibration import (
    LEAST_FOR_ISOTONIC,
    fit_calibrator,
    fit_isotonic,
    fit_platt,
    level_shift,
)
from training.evaluation import (
    calibration_error,
    calibration_slope,
    evaluate,
    log_losses,
    top_decile_lift,
)
from training.gate import judge


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


def test_a_curved_margin_with_rows_enough_is_calibrated_by_isotonic_else_by_platt() -> None:
    folds = [drawn(20_000, seed=seed) for seed in (1, 2, 3)]
    curved = [np.sign(margin) * margin**2 for margin, _ in folds]
    labels = [label for _, label in folds]

    assert min(label.sum() for label in labels) > LEAST_FOR_ISOTONIC
    assert isinstance(fit_calibrator(curved, labels), Isotonic)
    assert isinstance(fit_calibrator([m for m, _ in folds], labels), Platt)
    few = [margin[:300] for margin in curved], [label[:300] for label in labels]
    assert isinstance(fit_calibrator(*few), Platt)


def test_a_level_that_drifts_from_fold_to_fold_does_not_bend_the_calibrator() -> None:
    folds = [drawn(20_000, seed=seed) for seed in (1, 2)]
    shifted = [folds[0][0] + 1.0, folds[1][0] - 1.0]

    fitted = fit_calibrator(shifted, [label for _, label in folds])

    assert isinstance(fitted, Platt)
    assert fitted.slope == pytest.approx(1.0, abs=0.06)
    assert fitted.intercept == pytest.approx(0.0, abs=0.06)


@given(st.floats(-5, 5))
def test_the_level_shift_makes_the_mean_score_the_rate(moved: float) -> None:
    margin, label = drawn(500)

    shift = level_shift(margin + moved, label)

    assert sigmoid(margin + moved + shift).mean() == pytest.approx(label.mean(), abs=1e-9)


def customers(rows: int) -> np.ndarray:
    return np.array([f"c{i % 300}" for i in range(rows)], dtype=object)


def test_a_model_as_good_as_the_baseline_passes() -> None:
    margin, label = drawn(3_000)
    noisy = margin + np.random.default_rng(5).normal(0, 0.1, 3_000)

    gate = judge(sigmoid(margin), sigmoid(noisy), 0.3, label, customers(3_000), 0)

    assert gate.passed
    assert gate.loss_over_base_rate.mean < 0


def test_a_model_that_ranks_reliably_worse_than_the_baseline_fails() -> None:
    margin, label = drawn(3_000)
    noise = np.random.default_rng(5).normal(0, 1, 3_000)

    gate = judge(sigmoid(noise), sigmoid(margin), 0.3, label, customers(3_000), 0)

    assert "AUC is reliably below" in "; ".join(gate.failures)
    assert gate.auc_over_baseline.mean < -0.1


def test_a_model_that_is_sure_and_wrong_fails_against_the_base_rate() -> None:
    margin, label = drawn(3_000)

    gate = judge(sigmoid(9 * margin), sigmoid(margin), 0.3, label, customers(3_000), 0)

    assert gate.failures == ("log-loss is reliably worse than always saying the base rate",)


def test_the_gate_s_auc_counts_ties_as_half() -> None:
    label = np.array([0, 1, 0, 1, 1, 0], dtype=np.int8)
    score = np.array([0.1, 0.1, 0.2, 0.2, 0.3, 0.3])

    gate = judge(score, np.full(6, 0.5), 0.5, label, customers(6), 0)

    assert gate.auc_over_baseline.mean == pytest.approx(roc_auc_score(label, score) - 0.5)


def test_a_score_that_is_no_probability_fails() -> None:
    margin, label = drawn(300)

    with np.errstate(invalid="ignore"):
        gate = judge(np.full(300, np.nan), sigmoid(margin), 0.3, label, customers(300), 0)

    assert "a score is not a probability" in gate.failures
