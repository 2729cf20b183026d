"""Fitting what turns margins into probabilities, on margins of rows later than any fitted on."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from serving.calibrator import Calibrator, FloatArray, Isotonic, Platt
from training.evaluation import log_losses

LEAST_FOR_ISOTONIC: Final = 1_000
"""Positives below which a free curve follows noise."""

_BINS: Final = 50
_NO_PENALTY: Final = 1e6

Labels = npt.NDArray[np.int8]


def fit_calibrator(margin: FloatArray, label: Labels, order: npt.NDArray[np.int64]) -> Calibrator:
    """Platt, or isotonic when there are positives enough and it was better on the later half.

    `order` is the decision time of each row.
    """
    if min(int(label.sum()), int((1 - label).sum())) < LEAST_FOR_ISOTONIC:
        return fit_platt(margin, label)
    early = order < np.median(order)
    if not (_has_both(label[early]) and _has_both(label[~early])):
        return fit_platt(margin, label)
    losses = {
        fit: log_losses(fit(margin[early], label[early]).apply(margin[~early]), label[~early])
        for fit in (fit_platt, fit_isotonic)
    }
    gain = losses[fit_platt] - losses[fit_isotonic]
    is_better = gain.mean() > gain.std() / np.sqrt(len(gain))
    return fit_isotonic(margin, label) if is_better else fit_platt(margin, label)


def fit_platt(margin: FloatArray, label: Labels) -> Platt:
    """The slope and intercept of greatest likelihood."""
    fitted = LogisticRegression(C=_NO_PENALTY, solver="newton-cholesky", max_iter=200)
    fitted.fit(margin.reshape(-1, 1), label)
    return Platt(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


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


def _has_both(label: Labels) -> bool:
    return 0 < int(label.sum()) < len(label)
