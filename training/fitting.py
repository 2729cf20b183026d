"""From a dataset to a judged model: candidates, choice, calibration, the test, the baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_repo import contract
from feature_repo.targets import Target
from serving.calibrator import FloatArray, sigmoid
from serving.estimators import Blend, Estimator
from serving.logistic import Logistic
from serving.model import ScoringModel
from training import calibration
from training.baseline import baseline_scores
from training.candidates import (
    BLEND,
    LIGHTGBM,
    LOGISTIC,
    XGBOOST,
    blend,
    encoder_for,
    try_lightgbm,
    try_logistic,
    try_xgboost,
)
from training.choice import choose, evidence_of
from training.dataset import Dataset
from training.evaluation import Evaluation, evaluate
from training.folds import Split
from training.intervals import bootstrap_intervals
from training.learning import Learning, Trial
from training.regression import forced_to_zero
from training.search import search

EXAMPLES: Final = 20
"""Rows a model carries to check itself by."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A model and how it did on the test period, beside the baseline on the same rows."""

    model: ScoringModel
    chosen: Trial
    #: Why it was chosen, in words and numbers.
    reason: str
    trials: tuple[Trial, ...]
    score: FloatArray
    baseline_score: FloatArray
    evaluation: Evaluation
    baseline: Evaluation
    #: The model without calibration, on the test rows.
    uncalibrated: Evaluation
    #: 95 % intervals of some of the evaluation's metrics, by drawing customers.
    intervals: Mapping[str, tuple[float, float]]


def fit_and_judge(
    target: Target,
    as_of: datetime,
    dataset: Dataset,
    split: Split,
    seed: int,
    progress: Progress,
    *,
    search_minutes: float = 0.0,
    monotone: Mapping[str, int] | None = None,
) -> Judged:
    """The candidate the folds choose, calibrated on later rows and judged on the untouched period.

    `monotone` are directions of features, 1 rising and -1 falling; None: those of the target.

    Raises:
        NotReady: a search is wanted and Optuna is not installed.
    """
    development, test = dataset.take(split.development), dataset.take(split.test)
    encoder = encoder_for(development.columns, contract.MODEL_FEATURES, contract.TEXT_FEATURES)
    learning = Learning(
        matrix=encoder.matrix(dataset.columns),
        label=dataset.label,
        weight=dataset.weight,
        encoder=encoder,
        folds=split.folds,
        development=split.development,
        seed=seed,
        signs=dict(target.monotone) if monotone is None else monotone,
    )
    trials, kinds = _trials(learning, search_minutes, progress)
    choice = choose(trials, kinds, evidence_of(learning))
    progress(f"{choice.trial.name} on everything before the test period")
    model = _model(target, as_of, learning, choice.trial, dataset)
    score = model.predict(test.columns)
    base = baseline_scores(dataset, split.development, split.test)
    progress("the verdict on the test period")
    return Judged(
        model=model.with_examples(test.take(_spread(len(test), EXAMPLES)).columns),
        chosen=choice.trial,
        reason=choice.reason + _turned_round(model.estimator, learning.signs),
        trials=trials,
        score=score,
        baseline_score=base,
        evaluation=evaluate(score, test.label, test.weight),
        baseline=evaluate(base, test.label, test.weight),
        uncalibrated=evaluate(sigmoid(model.raw(test.columns)), test.label, test.weight),
        intervals=bootstrap_intervals(score, test.label, test.weight, test.customer, seed=seed),
    )


def _trials(
    learning: Learning, search_minutes: float, progress: Progress
) -> tuple[tuple[Trial, ...], Mapping[str, str]]:
    """Every candidate on the folds, and the kind of each by name."""
    progress("logistic regression on the folds")
    logistic = try_logistic(learning)
    progress("LightGBM on the folds")
    boosted = {LIGHTGBM: [try_lightgbm(learning)]}
    progress("XGBoost on the folds")
    boosted[XGBOOST] = [try_xgboost(learning)]
    if search_minutes > 0:
        for kind, found in search(learning, search_minutes, progress).items():
            boosted[kind] += found
    best = [min(trials, key=lambda t: float(np.mean(t.losses))) for trials in boosted.values()]
    mixed = blend(learning, logistic, best)
    kinds = {logistic.name: LOGISTIC, mixed.name: BLEND}
    kinds |= {trial.name: kind for kind, trials in boosted.items() for trial in trials}
    every = (logistic, *(trial for trials in boosted.values() for trial in trials), mixed)
    return every, kinds


def _model(
    target: Target, as_of: datetime, learning: Learning, chosen: Trial, dataset: Dataset
) -> ScoringModel:
    rows = learning.development
    label, weight = learning.label[rows], learning.weight[rows]
    later = [
        calibration.Judged(
            margin,
            learning.label[fold.judge],
            learning.weight[fold.judge],
            dataset.customer[fold.judge],
            float(fold.fit.sum() / rows.sum()),
        )
        for margin, fold in zip(chosen.margins, learning.folds, strict=True)
    ]
    return ScoringModel(
        target=target.name,
        feature_service=contract.FEATURE_SERVICE,
        encoder=learning.encoder,
        estimator=chosen.fit(learning.matrix[rows], label, weight=weight),
        calibrator=calibration.fit_calibrator(later),
        trained_through=as_of.isoformat(),
        base_rate=float(np.average(label, weights=weight)),
    )


def _turned_round(estimator: Estimator, signs: Mapping[str, int]) -> str:
    """A sentence about features whose declared direction the rows speak against; or nothing."""
    members = estimator.members if isinstance(estimator, Blend) else (estimator,)
    names = [n for m in members if isinstance(m, Logistic) for n in forced_to_zero(m, signs)]
    if not names:
        return ""
    return (
        f" The rows speak against the declared direction of {', '.join(names)}: "
        "the logistic regression gives no weight to it."
    )


def _spread(rows: int, count: int) -> npt.NDArray[np.int64]:
    """Positions of at most `count` rows, evenly over all."""
    return np.unique(np.linspace(0, rows - 1, min(count, rows)).round().astype(np.int64))
