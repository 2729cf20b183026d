from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from feature_repo import contract
from feature_repo.targets import target_from
from serving.calibrator import sigmoid
from serving.encoder import Encoder
from serving.model import margin
from training.baseline import RFM
from training.boosted import best_count, fit_boosted
from training.candidates import Trial, choose, encoder_for, try_boosted, try_logistic
from training.dataset import Dataset
from training.fitting import Judged, fit_and_judge
from training.folds import split
from training.regression import fit_logistic

DAY_US = 86_400_000_000


def a_dataset(rows: int = 3_000, seed: int = 1) -> Dataset:
    """Recency drives the label; most features are noise or constant, some are missing."""
    random = np.random.default_rng(seed)
    columns = {
        name: np.zeros(rows)
        if i % 3
        else np.where(random.uniform(size=rows) < 0.2, np.nan, random.gamma(1.0, 10.0, rows))
        for i, name in enumerate(contract.MODEL_FEATURES)
    }
    for name in contract.TEXT_FEATURES:
        columns[name] = random.choice(np.array(["DE", "FR", None], dtype=object), rows)
    hours = random.gamma(1.0, 500.0, rows)
    columns[RFM[0]] = hours
    french = columns["country"] == "FR"
    chance = sigmoid(1.0 - hours / 400.0 + 1.0 * french)
    return Dataset(
        columns=columns,
        label=(random.uniform(size=rows) < chance).astype(np.int8),
        at_us=np.sort(random.integers(0, 200, rows)) * DAY_US,
        customer=np.array([f"c{i}" for i in random.integers(0, 400, rows)], dtype=object),
        weight=np.ones(rows),
    )


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return a_dataset()


def judged(dataset: Dataset, seed: int = 0) -> Judged:
    target = target_from("a", {"event": "clicked", "horizon_days": 7, "spine": "sent"})
    parts = split(dataset.at_us, dataset.label, timedelta(days=7))
    as_of = datetime(2024, 1, 1, tzinfo=UTC)
    return fit_and_judge(target, as_of, dataset, parts, seed, lambda step: None)


def test_a_signal_beyond_the_baseline_is_found_and_calibrated(dataset: Dataset) -> None:
    found = judged(dataset)

    assert found.evaluation.auc > found.baseline.auc > 0.6
    assert 0.7 < found.evaluation.calibration_slope < 1.4


def test_equal_rows_and_seed_give_equal_scores(dataset: Dataset) -> None:
    assert judged(dataset, seed=3).score.tolist() == judged(dataset, seed=3).score.tolist()


def test_the_test_rows_touch_nothing_that_is_fitted(dataset: Dataset) -> None:
    parts = split(dataset.at_us, dataset.label, timedelta(days=7))
    other = np.where(parts.test, 1 - dataset.label, dataset.label).astype(np.int8)

    turned = judged(replace(dataset, label=other))

    assert turned.score.tolist() == judged(dataset).score.tolist()


def test_both_candidates_are_judged_on_every_fold(dataset: Dataset) -> None:
    found = judged(dataset)

    assert [trial.name for trial in found.trials] == ["logistic", "lightgbm"]
    assert all(len(trial.losses) == len(trial.aucs) == 4 for trial in found.trials)


def a_trial(name: str, losses: tuple[float, ...]) -> Trial:
    return Trial(
        name=name,
        setting={},
        losses=losses,
        aucs=(),
        margins=(),
        fit=lambda matrix, label: pytest.fail("not fitted here"),
    )


@pytest.mark.parametrize(
    ("boosted", "chosen"),
    [
        ((0.49, 0.49, 0.48, 0.49), "lightgbm"),  # better on every fold
        ((0.40, 0.55, 0.45, 0.59), "logistic"),  # better on average, by less than its error
        ((0.51, 0.51, 0.51, 0.51), "logistic"),
    ],
)
def test_the_plain_model_is_preferred_in_doubt(boosted: tuple[float, ...], chosen: str) -> None:
    plain = a_trial("logistic", (0.50, 0.50, 0.50, 0.50))

    assert choose(plain, a_trial("lightgbm", boosted)).name == chosen


def test_one_fold_must_show_a_clear_gain() -> None:
    plain = a_trial("logistic", (0.5,))

    assert choose(plain, a_trial("lightgbm", (0.499,))).name == "logistic"
    assert choose(plain, a_trial("lightgbm", (0.48,))).name == "lightgbm"


def test_the_number_of_trees_is_the_best_of_all_folds_together() -> None:
    curves = [np.array([0.5, 0.4, 0.3, 0.35]), np.array([0.5, 0.2, 0.4, 0.6])]

    assert best_count(curves) == 2


def test_only_frequent_levels_are_kept_in_a_fixed_order() -> None:
    texts = np.array(["FR"] * 60 + ["DE"] * 50 + ["XX"] * 49 + [None] * 10, dtype=object)

    encoder = encoder_for({"country": texts}, ("country",), ("country",))

    assert encoder.categories == {"country": ("DE", "FR")}


def test_a_logistic_of_nothing_that_varies_says_the_base_rate() -> None:
    matrix, label = np.ones((99, 1)), np.repeat([0, 1], [66, 33]).astype(np.int8)

    fitted = fit_logistic(matrix, label, Encoder(("a",), {}), strength=1.0)

    assert sigmoid(margin(fitted, matrix, ("a",)))[0] == pytest.approx(1 / 3, abs=0.01)


def test_missing_itself_can_be_the_signal() -> None:
    label = np.tile([0, 1], 500).astype(np.int8)
    matrix = np.where(label == 1, np.nan, 5.0).reshape(-1, 1)

    fitted = fit_logistic(matrix, label, Encoder(("a",), {}), strength=1.0)

    score = sigmoid(margin(fitted, matrix, ("a",)))
    assert score[label == 1].min() > 0.9 > 0.1 > score[label == 0].max()


def test_a_feature_that_is_always_missing_is_left_out() -> None:
    matrix, label = np.full((100, 1), np.nan), np.tile([0, 1], 50).astype(np.int8)

    assert fit_logistic(matrix, label, Encoder(("a",), {}), strength=1.0).numbers == ()


def test_trials_are_repeatable_and_the_refit_has_the_settled_number_of_trees() -> None:
    dataset = a_dataset(1_500)
    parts = split(dataset.at_us, dataset.label, timedelta(days=7))
    encoder = encoder_for(dataset.columns, contract.MODEL_FEATURES, contract.TEXT_FEATURES)
    matrix = encoder.matrix(dataset.columns)

    trials = [try_boosted(matrix, dataset.label, encoder, parts.folds, 5) for _ in range(2)]
    booster = fit_boosted(matrix, dataset.label, encoder, trees=7, seed=5)

    assert trials[0].losses == trials[1].losses
    assert booster.num_trees() == 7
    assert len(try_logistic(matrix, dataset.label, encoder, parts.folds).losses) == 4


def test_the_digest_sees_every_value_and_no_bit_pattern_of_missing(dataset: Dataset) -> None:
    name = RFM[1]
    last = dataset.columns[name].copy()
    last[-1] = 123.0
    negative_nan = np.where(np.isnan(dataset.columns[name]), -np.nan, dataset.columns[name])

    changed = replace(dataset, columns=dataset.columns | {name: last})
    same = replace(dataset, columns=dataset.columns | {name: negative_nan})

    assert changed.sha256() != dataset.sha256()
    assert same.sha256() == dataset.sha256()
