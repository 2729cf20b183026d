"""Two models on the same rows: what their difference is, and how sure that is.

Rows of one customer are alike, so customers are what is drawn. A draw gives every customer a
Poisson(1) weight in place of drawing them with replacement: the same for many customers, and
scores need to be sorted only once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.calibrator import FloatArray

RESAMPLES: Final = 400
TOP_SHARE: Final = 0.1
"""Share of the rows, by weight, that lift looks at."""

_BOUNDS: Final = (0.05, 0.95)
"""Each bound alone holds with 95 % probability."""

Labels = npt.NDArray[np.int8]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its one-sided 95 % bounds."""

    value: float
    lo: float
    hi: float


def codes_of(customer: npt.NDArray[Any]) -> Codes:
    """Number of each row's customer, from 0."""
    return np.unique(customer.astype(str), return_inverse=True)[1].astype(np.int64)


def draws(codes: Codes, weight: FloatArray, seed: int, count: int = RESAMPLES) -> Iterator[Any]:
    """Weights of the rows under `count` draws of customers."""
    random = np.random.default_rng(seed)
    customers = int(codes.max()) + 1
    for _ in range(count):
        yield random.poisson(1.0, customers).astype(np.float64)[codes] * weight


def bounded(value: float, drawn: FloatArray) -> Estimate:
    """An estimate from its value on all rows and its values under the draws.

    A draw in which a label had no weight is left out.
    """
    usable = drawn[np.isfinite(drawn)]
    if not len(usable):
        return Estimate(value, math.nan, math.nan)
    lo, hi = np.quantile(usable, _BOUNDS)
    return Estimate(value, float(lo), float(hi))


@dataclass(frozen=True, slots=True)
class Mean:
    """A weighted mean and its standard error, with customers as units."""

    value: float
    error: float


def clustered_mean(values: FloatArray, weight: FloatArray, codes: Codes) -> Mean:
    """Mean of the rows; the error is from the sums of the customers' deviations."""
    whole = float(weight.sum())
    mean = float(np.sum(weight * values) / whole)
    sums = np.bincount(codes, weights=weight * (values - mean))
    return Mean(mean, float(np.sqrt(np.sum(sums**2)) / whole))


class Ranking:
    """Scores sorted once, for AUC and lift under many weightings of the rows."""

    def __init__(self, score: FloatArray, label: Labels) -> None:
        self._order = np.argsort(score, kind="stable")
        ordered = score[self._order]
        self._positive = (label[self._order] == 1).astype(np.float64)
        # Rows with equal scores form one group; a pair within it counts half.
        begins = np.concatenate([[True], np.diff(ordered) > 0])
        self._groups = None if bool(begins.all()) else np.flatnonzero(begins)

    def auc(self, weight: FloatArray) -> float:
        """Chance that a positive outranks a negative; NaN when a label has no weight."""
        return self.auc_and_lift(weight)[0]

    def lift(self, weight: FloatArray) -> float:
        """Rate among the TOP_SHARE with the highest scores over the rate of all.

        Of rows with equal scores at the edge, a share counts. NaN without a positive.
        """
        return self.auc_and_lift(weight)[1]

    def auc_and_lift(self, weight: FloatArray) -> tuple[float, float]:
        """Both, of one pass over the rows."""
        ordered = weight[self._order]
        positive = ordered * self._positive
        negative = ordered - positive
        if self._groups is not None:
            positive = np.add.reduceat(positive, self._groups)
            negative = np.add.reduceat(negative, self._groups)
        hits, misses = np.cumsum(positive), np.cumsum(negative)
        pairs = hits[-1] * misses[-1]
        auc = float(np.sum(positive * (misses - negative / 2)) / pairs) if pairs else math.nan
        return auc, _top(hits, hits + misses) if hits[-1] else math.nan


def _top(hits: FloatArray, rows: FloatArray) -> float:
    """Lift of the highest scored rows; running weights of positives and of rows, from below."""
    edge = (1 - TOP_SHARE) * rows[-1]
    below = float(np.interp(edge, np.append(0.0, rows), np.append(0.0, hits)))
    return float((hits[-1] - below) / hits[-1] / TOP_SHARE)


def chance_above(mean: Mean, limit: float) -> float:
    """One-sided p-value of the hypothesis that the true mean is not above the limit.

    >>> chance_above(Mean(1.0, 0.0), 1.0), chance_above(Mean(0.0, 1.0), 0.0)
    (1.0, 0.5)
    """
    if mean.error == 0.0:
        return 0.0 if mean.value > limit else 1.0
    return 0.5 * math.erfc((mean.value - limit) / mean.error / math.sqrt(2.0))


def holm(chances: list[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979): below 0.05 in all at most 5 % of the time.

    >>> holm([0.04, 0.01, 0.5])
    [0.08, 0.03, 0.5]
    """
    adjusted = [0.0] * len(chances)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=lambda i: chances[i])):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[place]))
        adjusted[place] = highest
    return adjusted
