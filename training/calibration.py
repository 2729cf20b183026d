"""Fitting what turns margins into probabilities, on margins of rows later than any fitted on.

Only the shape is fitted. How often the target happens drifts from month to month, and a shift that
was measured on the folds says nothing about the next period: each fold's margins are first moved
so that their mean score is that fold's rate.

The folds' fits saw fewer rows than the fit that is used, and over-confidence falls as one over the
rows (van Houwelingen and le Cessie 1990): each over-confident fold's margins are shrunk to what the
whole fit's would be. Under-confidence stays as it was measured: trees that were stopped early keep
it however many rows there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression

from serving.calibrator import Calibrator, FloatArray, Isotonic, Platt
from training.evaluation import log_losses
from training.gates.paired import clustered_mean, codes_of
from training.weighting import Labels, fit_line, level_shift, mean, or_none

LEAST_FOR_ISOTONIC: Final = 1_000
"""Rows of the rarer label below which a free curve follows noise."""

ERRORS_FOR_ISOTONIC: Final = 2.0
"""Standard errors of the last fold's log-loss that isotonic must gain."""

_BINS: Final = 50


@dataclass(frozen=True, slots=True)
class Judged:
    """Margins of rows that are later than those their estimator was fitted on."""

    margin: FloatArray
    label: Labels
    weight: FloatArray
    customer: npt.NDArray[Any]
    #: Rows the estimator was fitted on over rows the one that is used will be; at most 1.
    share: float

    def take(self, rows: npt.NDArray[Any]) -> Judged:
        """The rows chosen."""
        return Judged(
            self.margin[rows],
            self.label[rows],
            self.weight[rows],
            self.customer[rows],
            self.share,
        )


def fit_calibrator(folds: Sequence[Judged]) -> Calibrator:
    """Platt, or isotonic when there are rows enough and it does reliably better on the last fold.

    The folds are in order of time.
    """
    ready = [replace(fold, margin=as_whole(fold)) for fold in folds]
    whole = _together(ready)
    early, last = ready[:-1], ready[-1]
    if not early or _rarer(_together(early)[1]) < LEAST_FOR_ISOTONIC:
        return fit_platt(*whole)
    platt, isotonic = (
        log_losses(calibrator.apply(last.margin), last.label)
        for calibrator in (fit_platt(*_together(early)), fit_isotonic(*_together(early)))
    )
    # Rows of a customer are alike: counted as independent, the error would be far too small.
    gain = clustered_mean(platt - isotonic, last.weight, codes_of(last.customer))
    is_better = gain.value > ERRORS_FOR_ISOTONIC * gain.error
    return fit_isotonic(*whole) if is_better else fit_platt(*whole)


def _together(folds: Sequence[Judged]) -> tuple[FloatArray, Labels, FloatArray]:
    """Margins, labels and weights of all folds."""
    return (
        np.concatenate([fold.margin for fold in folds]),
        np.concatenate([fold.label for fold in folds]),
        np.concatenate([fold.weight for fold in folds]),
    )


def as_whole(fold: Judged) -> FloatArray:
    """A fold's margins at its own level, as sure as the whole fit is expected to be."""
    level = fold.margin + level_shift(fold.margin, fold.label, or_none(fold.weight))
    slope = fit_platt(level, fold.label, fold.weight).slope
    if slope >= 1.0:
        return level
    shrunk = level * (slope / (1.0 - (1.0 - slope) * fold.share))
    return shrunk + level_shift(shrunk, fold.label, or_none(fold.weight))


def fit_platt(margin: FloatArray, label: Labels, weight: FloatArray | None = None) -> Platt:
    """The slope and intercept of greatest likelihood; the margins as they are if that turns them.

    A falling line would rank customers against the estimator: there is nothing to calibrate then.
    """
    if np.ptp(margin) == 0.0:
        return Platt(1.0, 0.0)
    slope, intercept = fit_line(margin, label, or_none(weight))
    return Platt(slope, intercept) if slope > 0 else Platt(1.0, 0.0)


def fit_isotonic(margin: FloatArray, label: Labels, weight: FloatArray | None = None) -> Isotonic:
    """A rising line through the rates of equally filled bins.

    Bins, because the raw isotonic steps are flat between jumps: equal scores cannot be ranked.
    """
    counted = np.ones(len(margin)) if weight is None else weight
    ordered = np.argsort(margin, kind="stable")
    bins = np.array_split(ordered, min(_BINS, len(ordered)))
    centres = np.array([mean(margin[rows], or_none(counted[rows])) for rows in bins])
    sizes = np.array([counted[rows].sum() for rows in bins])
    positive = np.array([np.sum(counted[rows] * label[rows]) for rows in bins])
    # One half of a success and of a failure, so that no bin says never or always.
    rates = (positive + 0.5) / (sizes + 1.0)
    rising = IsotonicRegression().fit_transform(centres, rates, sample_weight=sizes)
    _, first = np.unique(centres, return_index=True)
    return Isotonic(tuple(centres[first].tolist()), tuple(rising[first].tolist()))


def _rarer(label: Labels) -> int:
    positives = int(label.sum())
    return min(positives, len(label) - positives)
