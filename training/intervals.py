"""How sure the metrics of a test period are: intervals by drawing customers.

Only who the customers happened to be is drawn. That another month differs from this one (a season)
is in no interval of one test period.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.calibrator import FloatArray, sigmoid
from training.evaluation import log_losses, log_odds
from training.gates.paired import Ranking, codes_of, draws
from training.weighting import Labels, fit_line

RESAMPLES: Final = 200
SURE: Final = (0.025, 0.975)
"""The bounds hold what is between them with 95 % probability."""

_BINS: Final = 2_000
_STEPS: Final = 3


def bootstrap_intervals(
    score: FloatArray,
    label: Labels,
    weight: FloatArray,
    customer: npt.NDArray[Any],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Mapping[str, tuple[float, float]]:
    """95 % intervals of `auc`, `log_loss`, `calibration_slope` and `top_decile_lift`.

    NaN where too few draws held both labels. Scores are sorted once; the slope is drawn on
    _BINS bins of equal scores, which moves it by less than a hundredth of its interval.
    """
    ranking, slope = Ranking(score, label), _Slope(score, label, weight)
    losses = log_losses(score, label)
    drawn = [
        (ranking.auc(w), _share(losses, w), slope.under(w), ranking.lift(w))
        for w in draws(codes_of(customer), weight, seed, resamples)
    ]
    names = ("auc", "log_loss", "calibration_slope", "top_decile_lift")
    return {
        name: _bounds(np.array(values))
        for name, values in zip(names, zip(*drawn, strict=True), strict=True)
    }


def _share(values: FloatArray, weight: FloatArray) -> float:
    whole = float(weight.sum())
    return float(np.sum(values * weight) / whole) if whole else float("nan")


def _bounds(values: FloatArray) -> tuple[float, float]:
    usable = values[np.isfinite(values)]
    if len(usable) < len(values) / 2:
        return float("nan"), float("nan")
    low, high = np.quantile(usable, SURE)
    return float(low), float(high)


class _Slope:
    """The calibration slope under many weightings of the rows."""

    def __init__(self, score: FloatArray, label: Labels, weight: FloatArray) -> None:
        logit = log_odds(score)
        ordered = np.argsort(logit, kind="stable")
        self._bin = np.empty(len(logit), dtype=np.int64)
        count = min(_BINS, len(logit))
        for number, rows in enumerate(np.array_split(ordered, count)):
            self._bin[rows] = number
        self._positive = label == 1
        sizes = np.bincount(self._bin, weight)
        self._x = np.bincount(self._bin, weight * logit) / sizes
        self._is_flat = bool(np.ptp(logit) == 0.0)
        self._start = (0.0, 0.0) if self._is_flat else fit_line(logit, label, weight)

    def under(self, weight: FloatArray) -> float:
        """The slope when the rows count so, by a few of Newton's steps from that of all rows."""
        if self._is_flat:
            return 0.0
        count, x = len(self._x), self._x
        whole = np.bincount(self._bin, weight, count)
        hits = np.bincount(self._bin[self._positive], weight[self._positive], count)
        slope, intercept = self._start
        for _ in range(_STEPS):
            score = sigmoid(intercept + slope * x)
            short, bend = hits - whole * score, whole * score * (1.0 - score)
            a, b, c = float(bend.sum()), float((bend * x).sum()), float((bend * x * x).sum())
            turn = a * c - b * b
            if turn <= 0.0:
                return float("nan")
            up, along = float(short.sum()), float((short * x).sum())
            intercept += (c * up - b * along) / turn
            slope += (a * along - b * up) / turn
        return slope
