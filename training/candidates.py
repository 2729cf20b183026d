"""Both candidates on the same folds, and the choice between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import lightgbm
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from serving.calibrator import FloatArray, sigmoid
from serving.encoder import Encoder
from serving.logistic import Logistic
from serving.model import margin
from training.boosted import best_count, fit_boosted, fit_watched
from training.dataset import Columns
from training.evaluation import log_losses
from training.folds import Fold
from training.regression import STRENGTHS, fit_logistic

LIGHTGBM: Final = "lightgbm"
LOGISTIC: Final = "logistic"

LEAST_LEVEL_ROWS: Final = 50
MOST_LEVELS: Final = 30

Estimator: TypeAlias = lightgbm.Booster | Logistic
Fit = Callable[[FloatArray, npt.NDArray[np.int8]], Estimator]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate as it did on the folds."""

    name: str
    #: What the folds settled: the number of trees, or the strength.
    setting: Mapping[str, float]
    #: Mean log-loss and AUC of each fold's later rows, before calibration.
    losses: tuple[float, ...]
    aucs: tuple[float, ...]
    #: Margins of each fold's later rows.
    margins: tuple[FloatArray, ...]
    #: Fits the candidate with its settled setting on other rows.
    fit: Fit


def encoder_for(columns: Columns, features: Sequence[str], texts: Sequence[str]) -> Encoder:
    """The encoder of these features: a level is a text of LEAST_LEVEL_ROWS rows or more."""
    categories: dict[str, tuple[str, ...]] = {}
    for name in features:
        if name in texts:
            present = np.array([text for text in columns[name] if text is not None], dtype=str)
            level, count = np.unique(present, return_counts=True)
            frequent = np.argsort(-count, kind="stable")[:MOST_LEVELS]
            kept = sorted(str(level[i]) for i in frequent if count[i] >= LEAST_LEVEL_ROWS)
            categories[name] = tuple(kept)
    return Encoder(tuple(features), categories)


def try_boosted(
    matrix: FloatArray,
    label: npt.NDArray[np.int8],
    encoder: Encoder,
    folds: Sequence[Fold],
    seed: int,
) -> Trial:
    """LightGBM on the folds; the number of trees is the one that is best for all of them."""
    watched = [
        fit_watched(
            matrix[fold.fit],
            label[fold.fit],
            encoder,
            (matrix[fold.judge], label[fold.judge]),
            seed=seed,
        )
        for fold in folds
    ]
    trees = best_count([curve for _, curve in watched])
    margins = [
        np.asarray(
            booster.predict(matrix[fold.judge], raw_score=True, num_iteration=trees),
            dtype=np.float64,
        )
        for (booster, _), fold in zip(watched, folds, strict=True)
    ]
    fit = partial(fit_boosted, encoder=encoder, trees=trees, seed=seed)
    return _trial(LIGHTGBM, {"trees": trees}, margins, label, folds, fit)


def try_logistic(
    matrix: FloatArray, label: npt.NDArray[np.int8], encoder: Encoder, folds: Sequence[Fold]
) -> Trial:
    """Logistic regression on the folds, with the strength that is best for all of them."""
    trials = []
    for strength in STRENGTHS:
        fit = partial(fit_logistic, encoder=encoder, strength=strength)
        margins = [
            margin(fit(matrix[f.fit], label[f.fit]), matrix[f.judge], encoder.features)
            for f in folds
        ]
        trials.append(_trial(LOGISTIC, {"strength": strength}, margins, label, folds, fit))
    return min(trials, key=lambda trial: float(np.mean(trial.losses)))


def choose(logistic: Trial, boosted: Trial) -> Trial:
    """LightGBM when its gain in log-loss exceeds one standard error over the folds, else logistic.

    The plain model is preferred in doubt: it needs fewer rows and errs less far outside them.
    """
    gain = np.array(logistic.losses) - np.array(boosted.losses)
    if len(gain) == 1:
        return boosted if gain[0] > _LONE_FOLD_GAIN * logistic.losses[0] else logistic
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return boosted if gain.mean() > error else logistic


_LONE_FOLD_GAIN: Final = 0.01
"""One fold has no standard error: a hundredth of the loss stands in."""


def _trial(
    name: str,
    setting: Mapping[str, float],
    margins: Sequence[FloatArray],
    label: npt.NDArray[np.int8],
    folds: Sequence[Fold],
    fit: Fit,
) -> Trial:
    judged: list[tuple[FloatArray, npt.NDArray[Any]]] = [
        (values, label[fold.judge]) for values, fold in zip(margins, folds, strict=True)
    ]
    return Trial(
        name=name,
        setting=setting,
        losses=tuple(float(log_losses(sigmoid(m), y).mean()) for m, y in judged),
        aucs=tuple(float(roc_auc_score(y, m)) for m, y in judged),
        margins=tuple(margins),
        fit=fit,
    )
