"""From a dataset to a judged model: candidates, choice, calibration, the test, the baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

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
from training.evaluation import Evaluation, evaluate, log_losses, reliably_worse
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
    evaluation: Evaluation
    baseline: Evaluation
    #: The model without calibration, on the test rows.
    uncalibrated: Evaluation
    #: Reasons not to use the model; empty when it passed.
    failures: tuple[str, ...]
    #: Paired loss differences the failures are decided by.
    comparisons: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """Whether the model may be used."""
        return not self.failures


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
    comparisons = _compare(test, score, base, float(development.label.mean()))
    return Judged(
        model=model.with_examples(test.take(_spread(len(test), EXAMPLES)).columns),
        chosen=chosen,
        trials=(logistic, boosted),
        score=score,
        evaluation=evaluate(score, test.label),
        baseline=evaluate(base, test.label),
        uncalibrated=evaluate(plain, test.label),
        failures=_failures(score, comparisons),
        comparisons=comparisons,
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
    judged_label = np.concatenate([dataset.label[fold.judge] for fold in split.folds])
    judged_at = np.concatenate([dataset.at_us[fold.judge] for fold in split.folds])
    return ScoringModel(
        target=target.name,
        feature_service=contract.FEATURE_SERVICE,
        encoder=encoder,
        estimator=chosen.fit(encoder.matrix(development.columns), development.label),
        calibrator=fit_calibrator(chosen.margin, judged_label, judged_at),
        trained_through=as_of.isoformat(),
        base_rate=float(development.label.mean()),
    )


def _compare(
    test: Dataset, score: FloatArray, baseline: FloatArray, base_rate: float
) -> dict[str, Any]:
    losses = log_losses(score, test.label)
    references = {
        "baseline": baseline,
        "base_rate": np.full(len(test), base_rate, dtype=np.float64),
    }
    return {
        name: reliably_worse(losses, log_losses(reference, test.label), test.customer)
        for name, reference in references.items()
    }


def _failures(score: FloatArray, comparisons: Mapping[str, Any]) -> tuple[str, ...]:
    """Why the model must not be used: only what is beyond doubt on these rows."""
    found = []
    if not bool(np.all((score >= 0) & (score <= 1))):
        found.append("a score is not a probability")
    if comparisons["base_rate"]["is_worse"]:
        found.append("log-loss is reliably worse than always saying the base rate")
    if comparisons["baseline"]["is_worse"]:
        found.append("log-loss is reliably worse than the recency-frequency-money baseline's")
    return tuple(found)


def _spread(rows: int, count: int) -> npt.NDArray[np.int64]:
    """Positions of at most `count` rows, evenly over all."""
    return np.unique(np.linspace(0, rows - 1, min(count, rows)).round().astype(np.int64))
