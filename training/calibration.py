"""Fitting what turns margins into probabilities, on margins of rows later than any fitted on.

Only the shape is fitted. How often the target happens drifts from month to month, and a shift that
was measured on the folds says nothing about the next period: each fold's margins are first moved
so that their mean score is that fold's rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from serving.calibrator import Calibrator, FloatArray, Isotonic, Platt, sigmoid
from training.evaluation import log_losses

LEAST_FOR_ISOTONIC: Final = 1_000
"""Rows of the rarer label below which a free curve follows noise."""

_BINS: Final = 50
_NO_PENALTY: Final = 1e6
_FARTHEST: Final = 50.0
_HALVINGS: Final = 60

Labels = npt.NDArray[np.int8]


def fit_calibrator(margins: Sequence[FloatArray], labels: Sequence[Labels]) -> Calibrator:
    """Platt, or isotonic when there are rows enough and it does better on the last fold.

    The folds are in order of time.
    """
    level = [
        margin + level_shift(margin, label) for margin, label in zip(margins, labels, strict=True)
    ]
    every, label = np.concatenate(level), np.concatenate(labels)
    if len(level) < 2 or _rarer(np.concatenate(labels[:-1])) < LEAST_FOR_ISOTONIC:
        return fit_platt(every, label)
    early, early_label = np.concatenate(level[:-1]), np.concatenate(labels[:-1])
    platt, isotonic = (
        log_losses(fit(early, early_label).apply(level[-1]), labels[-1])
        for fit in (fit_platt, fit_isotonic)
    )
    gain = platt - isotonic
    is_better = gain.mean() > gain.std() / np.sqrt(len(gain))
    return fit_isotonic(every, label) if is_better else fit_platt(every, label)


def level_shift(margin: FloatArray, label: Labels) -> float:
    """What is to be added to the margins so that their mean score is the rate of the labels."""
    low, high = -_FARTHEST, _FARTHEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if sigmoid(margin + middle).mean() < label.mean():
            low = middle
        else:
            high = middle
    return (low + high) / 2


def fit_platt(margin: FloatArray, label: Labels) -> Platt:
    """The slope and intercept of greatest likelihood; the margins as they are if that turns them.

    A falling line would rank customers against the estimator: there is nothing to calibrate then.
    """
    fitted = LogisticRegression(C=_NO_PENALTY, solver="newton-cholesky", max_iter=200)
    fitted.fit(margin.reshape(-1, 1), label)
    slope = float(fitted.coef_[0, 0])
    return Platt(slope, float(fitted.intercept_[0])) if slope > 0 else Platt(1.0, 0.0)


def fit_isotonic(margin: FloatArray, label: Labels) -> Isotonic:
    """A rising line through the rates of equally filled bins.

    Bins, because the raw isotonic steps are flat between jumps: equal scores cannot be ranked.
    """
    ordered = np.argsort(margin, kind="stable")
    bins = np.array_split(ordered, min(_BINS, len(ordered)))
    centres = np.array([margin[rows].mean() for rows in bins])
    # One half of a success and of a failure, so that no bin says never or always.
    rates = np.array([(label[rows].sum() + 0.5) / (len(rows) + 1.0) for rows in bins])
    weights = np.array([len(rows) for rows in bins], dtype=np.float64)
    rising = IsotonicRegression().fit_transform(centres, rates, sample_weight=weights)
    _, first = np.unique(centres, return_index=True)
    return Isotonic(tuple(centres[first].tolist()), tuple(rising[first].tolist()))


def _rarer(label: Labels) -> int:
    positives = int(label.sum())
    return min(positives, len(label) - positives)
