from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from serving.calibrator import sigmoid
from serving.encoder import Encoder
from training.candidates import blend, try_lightgbm, try_logistic, try_xgboost
from training.choice import Choice, Evidence, choose, evidence_of
from training.folds import split
from training.learning import Learning, Trial

PLENTY = Evidence(features=60, rarer=50_000)
THIN = Evidence(features=12, rarer=300)


def a_trial(name: str, *losses: float) -> Trial:
    def fit(*args: Any, **more: Any) -> Any:
        pytest.fail("not fitted here")

    return Trial(name=name, setting={}, losses=losses, aucs=(), margins=(), fit=fit)


def chosen(*trials: Trial, evidence: Evidence = PLENTY) -> Choice:
    return choose(trials, {trial.name: trial.name.split(".")[0] for trial in trials}, evidence)


@pytest.mark.parametrize(
    ("boosted", "name"),
    [
        ((0.49, 0.49, 0.48, 0.49), "lightgbm"),  # better on every fold
        ((0.40, 0.55, 0.45, 0.59), "logistic"),  # better on average, by less than its error
        ((0.51, 0.51, 0.51, 0.51), "logistic"),
    ],
)
def test_the_plain_model_is_preferred_in_doubt(boosted: tuple[float, ...], name: str) -> None:
    plain = a_trial("logistic", 0.50, 0.50, 0.50, 0.50)

    assert chosen(plain, a_trial("lightgbm", *boosted)).trial.name == name


def test_the_plainest_within_one_error_of_the_best_is_used() -> None:
    trials = (
        a_trial("logistic", 0.50, 0.51, 0.50, 0.51),
        a_trial("lightgbm", 0.47, 0.45, 0.46, 0.48),
        a_trial("xgboost", 0.45, 0.46, 0.47, 0.46),
        a_trial("blend", 0.46, 0.46, 0.46, 0.47),
    )

    found = chosen(*trials)

    assert found.trial.name == "lightgbm"
    assert "Lightgbm loses 0.0400 less than logistic" in found.reason
    assert "Xgboost is better by 0.0050, which is within its standard error" in found.reason


def test_one_fold_must_show_a_clear_gain() -> None:
    plain = a_trial("logistic", 0.5)

    assert chosen(plain, a_trial("lightgbm", 0.499)).trial.name == "logistic"
    assert chosen(plain, a_trial("lightgbm", 0.48)).trial.name == "lightgbm"


def test_thin_data_asks_for_two_errors_and_says_so() -> None:
    # 0.0100 better on average with a standard error of 0.0071: 1.4 errors.
    plain = a_trial("logistic", 0.50, 0.50, 0.50, 0.50)
    boosted = a_trial("lightgbm", 0.47, 0.50, 0.49, 0.50)

    assert chosen(plain, boosted, evidence=PLENTY).trial.name == "lightgbm"
    found = chosen(plain, boosted, evidence=THIN)
    assert found.trial.name == "logistic"
    assert "12 features that vary, 300 rows of the rarer label" in found.reason
    assert "2 standard errors are asked for" in found.reason


def test_what_lost_a_search_is_no_candidate() -> None:
    trials = (
        a_trial("logistic", 0.60, 0.60),
        # Noisier, so within its own error of the best; but it lost to the other of its kind.
        a_trial("lightgbm.search_01", 0.40, 0.70),
        a_trial("lightgbm", 0.51, 0.50),
        a_trial("xgboost", 0.45, 0.45),
    )

    assert chosen(*trials).trial.name == "xgboost"


def a_learning(rows: int, interaction: float, seed: int = 0) -> Learning:
    """Six numbers of which the first two count, each alone or both together."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, 6))
    together = np.sign(matrix[:, 0] * matrix[:, 1])
    line = matrix[:, 0] + 0.5 * matrix[:, 1] if not interaction else interaction * together
    label = (random.uniform(size=rows) < sigmoid(line - 1.0)).astype(np.int8)
    at_us = np.arange(rows) * (timedelta(days=200) // timedelta(microseconds=1) // rows)
    start = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    parts = split(start + at_us, label, timedelta(days=7))
    return Learning(
        matrix=matrix,
        label=label,
        weight=np.ones(rows),
        encoder=Encoder(tuple("abcdef"), {}),
        folds=parts.folds,
        development=parts.development,
        seed=1,
    )


def chosen_of(learning: Learning) -> str:
    plain, trees = try_logistic(learning), [try_lightgbm(learning), try_xgboost(learning)]
    trials = (plain, *trees, blend(learning, plain, trees))
    return chosen(*trials, evidence=evidence_of(learning)).trial.name


def test_straight_and_thin_data_is_left_to_the_logistic() -> None:
    assert [chosen_of(a_learning(600, 0.0, seed)) for seed in (1, 2, 3)] == ["logistic"] * 3


def test_strong_interactions_and_many_rows_are_for_trees() -> None:
    assert chosen_of(a_learning(8_000, 2.0)) in {"lightgbm", "xgboost"}


def test_evidence_counts_what_varies_before_the_test_period() -> None:
    learning = a_learning(600, 0.0)
    learning.matrix[:, 3] = 7.0
    learning.matrix[:, 4] = np.nan
    learning.matrix[:, 5] = np.where(np.arange(600) % 2, np.nan, 1.0)
    learning.matrix[~learning.development, 3] = 8.0

    found = evidence_of(learning)

    assert found.features == 4  # of which one is there or is not
    assert found.rarer == learning.label[learning.development].sum()
    assert found.is_thin
