"""What a model must not be: reliably worse than knowing nothing, or than the baseline.

Only what is beyond doubt on the test rows counts. A level that drifted (a season) is reported with
the metrics and refuses nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.calibrator import FloatArray
from training.evaluation import log_losses

RESAMPLES: Final = 200
_LOSS_MARGIN: Final = 0.01
"""Share of the base rate's own loss that a model may lose by without being useless."""

Labels = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of the model minus that of a reference on the same rows."""

    mean: float
    #: Rows of a customer are not independent: customers are the units.
    standard_error: float


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict on a model."""

    #: Log-loss minus that of always saying the development rows' rate.
    loss_over_base_rate: Difference
    #: AUC minus the baseline's.
    auc_over_baseline: Difference
    #: Why the model must not be used; empty when it passed.
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the model may be used."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """The verdict and the numbers behind it."""
        return asdict(self) | {"passed": self.passed}


def judge(
    score: FloatArray,
    baseline: FloatArray,
    base_rate: float,
    label: Labels,
    customer: npt.NDArray[Any],
    seed: int,
) -> Gate:
    """The verdict on scores of the test rows."""
    codes = np.unique(customer.astype(str), return_inverse=True)[1]
    guess = log_losses(np.full(len(label), base_rate, dtype=np.float64), label)
    loss = _loss_difference(log_losses(score, label), guess, codes)
    auc = _auc_difference(score, baseline, label, codes, seed)
    failures = []
    if not bool(np.all((score >= 0) & (score <= 1))):
        failures.append("a score is not a probability")
    if loss.mean > max(2 * loss.standard_error, _LOSS_MARGIN * float(guess.mean())):
        failures.append("log-loss is reliably worse than always saying the base rate")
    if auc.mean < -2 * auc.standard_error:
        failures.append("AUC is reliably below the recency-frequency-money baseline's")
    return Gate(loss, auc, tuple(failures))


def _loss_difference(
    losses: FloatArray, reference: FloatArray, codes: npt.NDArray[np.int64]
) -> Difference:
    difference = losses - reference
    mean = float(difference.mean())
    sums = np.bincount(codes, weights=difference - mean)
    return Difference(mean, float(np.sqrt(np.sum(sums**2)) / len(difference)))


def _auc_difference(
    score: FloatArray,
    baseline: FloatArray,
    label: Labels,
    codes: npt.NDArray[np.int64],
    seed: int,
) -> Difference:
    """By resampling customers with Poisson weights."""
    random = np.random.default_rng(seed)
    ours, theirs = _Ranking(score, label), _Ranking(baseline, label)
    even = np.ones(len(label))
    differences = []
    for _ in range(RESAMPLES):
        weight = random.poisson(1.0, int(codes.max()) + 1).astype(np.float64)[codes]
        differences.append(ours.auc(weight) - theirs.auc(weight))
    return Difference(ours.auc(even) - theirs.auc(even), float(np.nanstd(differences)))


class _Ranking:
    """Scores sorted once, for the AUC under many weightings of the rows."""

    def __init__(self, score: FloatArray, label: Labels) -> None:
        self._order = np.argsort(score, kind="stable")
        ordered = score[self._order]
        self._positive = label[self._order] == 1
        # Rows with equal scores form one group; a pair within it counts half.
        self._group = np.cumsum(np.concatenate([[0], (np.diff(ordered) > 0).astype(np.int64)]))

    def auc(self, weight: FloatArray) -> float:
        """Chance that a positive outranks a negative; NaN when a label has no weight."""
        ordered = weight[self._order]
        positive = np.bincount(self._group, np.where(self._positive, ordered, 0.0))
        negative = np.bincount(self._group, np.where(self._positive, 0.0, ordered))
        pairs = positive.sum() * negative.sum()
        if pairs == 0.0:
            return float("nan")
        below = np.cumsum(negative) - negative
        return float(np.sum(positive * (below + negative / 2)) / pairs)
