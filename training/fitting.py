"""From a dataset to a judged model: candidates, choice, calibration, the test, the baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_repo import contract
from feature_repo.targets import Target
from serving.calibrator import FloatArray, Platt
from serving.encoder import Encoder
from serving.model import ScoringModel
from training.baseline import baseline_scores
from training.calibration import fit_calibrator
from training.candidates import Trial, choose, encoder_for, try_boosted, try_logistic
from training.dataset import Dataset
from training.evaluation import Evaluation, evaluate
from training.folds import Split

EXAMPLES: Final = 20
"""Rows a model carries to check itself by."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A model and how it did on the test period, beside the baseline on the same rows."""

    model: ScoringModel
    chosen: Trial
    trials: tuple[Trial, ...]
    score: FloatArray
    baseline_score: FloatArray
    evaluation: Evaluation
    baseline: Evaluation
    #: The model without calibration, on the test rows.
    uncalibrated: Evaluation


def fit_and_judge(
    target: Target, as_of: datetime, dataset: Dataset, split: Split, seed: int, progress: Progress
) -> Judged:
    """The better candidate, calibrated on later rows and judged on the untouched period."""
    development, test = dataset.take(split.development), dataset.take(split.test)
    encoder = encoder_for(development.columns, contract.MODEL_FEATURES, contract.TEXT_FEATURES)
    matrix = encoder.matrix(dataset.columns)
    progress("logistic regression on the folds")
    logistic = try_logistic(matrix, dataset.label, encoder, split.folds)
    progress("LightGBM on the folds")
    boosted = try_boosted(matrix, dataset.label, encoder, split.folds, seed)
    chosen = choose(logistic, boosted)
    progress(f"{chosen.name} on everything before the test period")
    model = _model(target, as_of, encoder, chosen, dataset, split)
    score = model.predict(test.columns)
    plain = Platt(1.0, 0.0).apply(model.raw(test.columns))
    base = baseline_scores(dataset, split.development, split.test)
    progress("the verdict on the test period")
    return Judged(
        model=model.with_examples(test.take(_spread(len(test), EXAMPLES)).columns),
        chosen=chosen,
        trials=(logistic, boosted),
        score=score,
        baseline_score=base,
        evaluation=evaluate(score, test.label),
        baseline=evaluate(base, test.label),
        uncalibrated=evaluate(plain, test.label),
    )


def _model(
    target: Target,
    as_of: datetime,
    encoder: Encoder,
    chosen: Trial,
    dataset: Dataset,
    split: Split,
) -> ScoringModel:
    development = dataset.take(split.development)
    return ScoringModel(
        target=target.name,
        feature_service=contract.FEATURE_SERVICE,
        encoder=encoder,
        estimator=chosen.fit(encoder.matrix(development.columns), development.label),
        calibrator=fit_calibrator(chosen.margins, [dataset.label[f.judge] for f in split.folds]),
        trained_through=as_of.isoformat(),
        base_rate=float(development.label.mean()),
    )


def _spread(rows: int, count: int) -> npt.NDArray[np.int64]:
    """Positions of at most `count` rows, evenly over all."""
    return np.unique(np.linspace(0, rows - 1, min(count, rows)).round().astype(np.int64))
