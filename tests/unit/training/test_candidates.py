from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from feature_repo import contract
from feature_repo.targets import target_from
from serving.calibrator import sigmoid
from serving.encoder import Encoder
from training.baseline import RFM
from training.boosted import best_count, fit_boosted
from training.candidates import blend, encoder_for, try_lightgbm, try_logistic, try_xgboost
from training.dataset import Dataset
from training.fitting import Judged, fit_and_judge
from training.folds import split
from training.learning import Learning
from training.regression import fit_logistic

DAY_US = 86_400_000_000


def a_dataset(rows: int = 1_500, seed: int = 1) -> Dataset:
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


def judged(dataset: Dataset, seed: int = 0, **declared: object) -> Judged:
    target = target_from("a", {"event": "clicked", "horizon_days": 7, "spine": "sent", **declared})
    parts = split(dataset.at_us, dataset.label, timedelta(days=7))
    as_of = datetime(2024, 1, 1, tzinfo=UTC)
    # As in training.run; on a busy machine BLAS threads wait for each other.
    with threadpool_limits(1, user_api="blas"):
        return fit_and_judge(target, as_of, dataset, parts, seed, lambda step: None)


@pytest.fixture(scope="module")
def found(dataset: Dataset) -> Judged:
    return judged(dataset)


def test_a_signal_beyond_the_baseline_is_found_and_calibrated(found: Judged) -> None:
    assert found.evaluation.auc > found.baseline.auc > 0.6
    assert 0.7 < found.evaluation.calibration_slope < 1.4


def test_equal_rows_and_seed_give_equal_scores(dataset: Dataset, found: Judged) -> None:
    again = judged(dataset)

    assert again.score.tolist() == found.score.tolist()
    assert again.intervals == found.intervals


def test_the_test_rows_touch_nothing_that_is_fitted(dataset: Dataset, found: Judged) -> None:
    parts = split(dataset.at_us, dataset.label, timedelta(days=7))
    other = np.where(parts.test, 1 - dataset.label, dataset.label).astype(np.int8)

    turned = judged(replace(dataset, label=other))

    assert turned.score.tolist() == found.score.tolist()


def test_every_candidate_is_judged_on_every_fold(found: Judged) -> None:
    assert [t.name for t in found.trials] == ["logistic", "lightgbm", "xgboost", "blend"]
    assert all(len(trial.losses) == len(trial.aucs) == 4 for trial in found.trials)


def test_the_verdict_has_a_reason_and_intervals_around_its_numbers(found: Judged) -> None:
    assert f"{np.mean(found.chosen.losses):.4f}" in found.reason
    for name, (low, high) in found.intervals.items():
        assert low < found.evaluation.as_dict()[name] < high, name


def test_rows_of_no_weight_to_speak_of_might_as_well_not_be_there(
    dataset: Dataset, found: Judged
) -> None:
    """A tenth of the rows say nonsense; nearly without weight they do no harm."""
    nonsense = np.arange(len(dataset)) % 10 == 0
    turned = np.where(nonsense, 1 - dataset.label, dataset.label).astype(np.int8)
    light = np.where(nonsense, 1e-9, 1.0)

    unweighted = judged(replace(dataset, label=turned))
    weighted = judged(replace(dataset, label=turned, weight=light))

    assert unweighted.evaluation.log_loss > found.evaluation.log_loss + 0.02
    assert weighted.evaluation.log_loss == pytest.approx(found.evaluation.log_loss, abs=0.02)


def test_a_declared_direction_against_what_the_rows_say_holds_in_the_scores(
    dataset: Dataset, found: Judged
) -> None:
    recency = RFM[0]
    one = dataset.take(np.arange(1))
    swept = np.geomspace(0.1, 5_000, 60)
    rows = {name: np.repeat(values, 60) for name, values in one.columns.items()} | {recency: swept}

    rising = judged(dataset, monotone={recency: 1})

    assert np.diff(found.model.predict(rows)).min() < -0.01
    assert (np.diff(rising.model.predict(rows)) >= -1e-12).all()
    assert recency in rising.reason or rising.chosen.name in {"lightgbm", "xgboost"}


@pytest.mark.parametrize("attempt", [try_logistic, try_lightgbm, try_xgboost])
def test_a_direction_the_rows_agree_with_is_kept_and_used(attempt: object) -> None:
    assert callable(attempt)
    learning = a_learning(a_dataset(), signs={RFM[0]: -1})
    position = learning.encoder.features.index(RFM[0])
    rows = np.repeat(learning.matrix[:1], 60, axis=0)
    rows[:, position] = np.geomspace(0.1, 5_000, 60)

    trial = attempt(learning)
    fitted = trial.fit(learning.matrix, learning.label, weight=learning.weight)

    steps = np.diff(fitted.margin(rows, learning.encoder.features))
    assert steps.max() <= 1e-9
    assert steps.sum() < -1.0


def test_the_number_of_trees_is_the_best_of_all_folds_together() -> None:
    curves = [np.array([0.5, 0.4, 0.3, 0.35]), np.array([0.5, 0.2, 0.4, 0.6])]

    assert best_count(curves, [100, 100]) == 2


def test_a_fold_fitted_on_more_rows_has_more_say_in_the_number_of_trees() -> None:
    curves = [np.array([0.4, 0.5, 0.6]), np.array([0.6, 0.5, 0.4])]

    assert best_count(curves, [100, 900]) == 3
    assert best_count(curves, [900, 100]) == 1


def test_only_frequent_levels_are_kept_in_a_fixed_order() -> None:
    texts = np.array(["FR"] * 60 + ["DE"] * 50 + ["XX"] * 49 + [None] * 10, dtype=object)

    encoder = encoder_for({"country": texts}, ("country",), ("country",))

    assert encoder.categories == {"country": ("DE", "FR")}


def test_a_logistic_of_nothing_that_varies_says_the_base_rate() -> None:
    matrix, label = np.ones((99, 1)), np.repeat([0, 1], [66, 33]).astype(np.int8)

    fitted = fit_logistic(matrix, label, Encoder(("a",), {}), strength=1.0)

    assert sigmoid(fitted.margin(matrix, ("a",)))[0] == pytest.approx(1 / 3, abs=0.01)


def test_missing_itself_can_be_the_signal() -> None:
    label = np.tile([0, 1], 500).astype(np.int8)
    matrix = np.where(label == 1, np.nan, 5.0).reshape(-1, 1)

    fitted = fit_logistic(matrix, label, Encoder(("a",), {}), strength=1.0)

    score = sigmoid(fitted.margin(matrix, ("a",)))
    assert score[label == 1].min() > 0.9 > 0.1 > score[label == 0].max()


def test_a_feature_that_is_always_missing_is_left_out() -> None:
    matrix, label = np.full((100, 1), np.nan), np.tile([0, 1], 50).astype(np.int8)

    assert fit_logistic(matrix, label, Encoder(("a",), {}), strength=1.0).numbers == ()


def a_learning(dataset: Dataset, **changes: object) -> Learning:
    parts = split(dataset.at_us, dataset.label, timedelta(days=7))
    encoder = encoder_for(dataset.columns, contract.MODEL_FEATURES, contract.TEXT_FEATURES)
    learning = Learning(
        matrix=encoder.matrix(dataset.columns),
        label=dataset.label,
        weight=dataset.weight,
        encoder=encoder,
        folds=parts.folds,
        development=parts.development,
        seed=5,
    )
    return replace(learning, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("attempt", [try_logistic, try_lightgbm, try_xgboost])
def test_trials_are_repeatable_and_fit_what_they_judged(attempt: object) -> None:
    assert callable(attempt)
    learning = a_learning(a_dataset())
    fold = learning.folds[-1]

    first, second = attempt(learning), attempt(learning)
    fitted = first.fit(
        learning.matrix[fold.fit], learning.label[fold.fit], weight=learning.weight[fold.fit]
    )

    assert first.losses == second.losses
    again = fitted.margin(learning.matrix[fold.judge], learning.encoder.features)
    assert again.tolist() == first.margins[-1].tolist()


def test_a_booster_has_exactly_the_trees_it_was_told() -> None:
    learning = a_learning(a_dataset())

    fitted = fit_boosted(learning.matrix, learning.label, learning.encoder, trees=7, seed=5)

    assert fitted.booster.num_trees() == 7


@pytest.mark.parametrize("attempt", [try_logistic, try_lightgbm, try_xgboost])
def test_a_row_of_weight_three_counts_as_three_rows(attempt: object) -> None:
    """Up to what the libraries do by rows: bins, samples and least rows of a leaf."""
    assert callable(attempt)
    dataset = a_dataset()
    heavy = replace(dataset, weight=np.where(dataset.label == 1, 3.0, 1.0))

    plain, weighted = attempt(a_learning(dataset)), attempt(a_learning(heavy))

    shift = (weighted.margins[-1] - plain.margins[-1]).mean()
    assert shift == pytest.approx(np.log(3.0), abs=0.35)


def test_a_blend_is_the_mean_of_its_members_in_log_odds() -> None:
    learning = a_learning(a_dataset())
    plain, trees = try_logistic(learning), [try_lightgbm(learning), try_xgboost(learning)]

    mixed = blend(learning, plain, trees)

    rows = learning.development
    fitted = mixed.fit(learning.matrix[rows], learning.label[rows], weight=learning.weight[rows])
    margins = [
        trial.fit(learning.matrix[rows], learning.label[rows], weight=learning.weight[rows]).margin(
            learning.matrix, learning.encoder.features
        )
        for trial in (plain, *trees)
    ]
    expected = np.average(margins, axis=0, weights=[0.5, 0.25, 0.25])
    np.testing.assert_allclose(
        fitted.margin(learning.matrix, learning.encoder.features), expected, atol=1e-12
    )


def test_a_logistic_weight_against_its_direction_becomes_zero_and_the_rest_is_fitted_anew() -> None:
    random = np.random.default_rng(2)
    matrix = random.normal(size=(2_000, 2))
    label = (random.uniform(size=2_000) < sigmoid(matrix[:, 0] + matrix[:, 1])).astype(np.int8)
    encoder = Encoder(("a", "b"), {})

    free = fit_logistic(matrix, label, encoder, strength=1.0)
    bound = fit_logistic(matrix, label, encoder, strength=1.0, signs={"a": -1, "b": 1})

    assert [term.weight > 0 for term in free.numbers] == [True, True]
    assert [term.weight for term in bound.numbers] == [0.0, pytest.approx(0.8, abs=0.15)]


def test_the_digest_sees_every_value_and_no_bit_pattern_of_missing(dataset: Dataset) -> None:
    name = RFM[1]
    last = dataset.columns[name].copy()
    last[-1] = 123.0
    negative_nan = np.where(np.isnan(dataset.columns[name]), -np.nan, dataset.columns[name])

    changed = replace(dataset, columns=dataset.columns | {name: last})
    same = replace(dataset, columns=dataset.columns | {name: negative_nan})

    assert changed.sha256() != dataset.sha256()
    assert same.sha256() == dataset.sha256()
