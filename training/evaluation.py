"""How good probabilities are, on rows that nothing was fitted on.

Rows count by their weights. Without weights, or when all are 1, results are the same to the last
bit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from serving.calibrator import FloatArray
from training.weighting import Labels, fit_line, mean, or_none

CURVE_BINS: Final = 10
"""Equally filled bins of the calibration curve and of the calibration error."""

_EDGE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of one set of scores."""

    auc: float
    average_precision: float
    log_loss: float
    brier: float
    #: Slope of the label on the score's log-odds: 1 is right, below 1 is over-confident.
    calibration_slope: float
    #: Mean score over the observed rate: 1 is right.
    calibration_ratio: float
    #: Mean distance of score and rate over equally filled bins.
    calibration_error: float
    #: Rate among the tenth with the highest scores over the rate of all.
    top_decile_lift: float

    def as_dict(self) -> dict[str, float]:
        """The metrics by name."""
        return asdict(self)


def evaluate(score: FloatArray, label: Labels, weight: FloatArray | None = None) -> Evaluation:
    """The metrics of scores against labels; both labels must occur."""
    counted = or_none(weight)
    return Evaluation(
        auc=float(roc_auc_score(label, score, sample_weight=counted)),
        average_precision=float(average_precision_score(label, score, sample_weight=counted)),
        log_loss=mean(log_losses(score, label), counted),
        brier=mean((score - label) ** 2, counted),
        calibration_slope=calibration_slope(score, label, counted),
        calibration_ratio=mean(score, counted) / mean(label, counted),
        calibration_error=calibration_error(score, label, counted),
        top_decile_lift=top_decile_lift(score, label, counted),
    )


def log_losses(score: FloatArray, label: Labels) -> FloatArray:
    """Minus the logarithm of the probability given to what happened, row by row."""
    given = np.where(label == 1, score, 1.0 - score)
    return np.asarray(-np.log(np.clip(given, _EDGE, 1.0)), dtype=np.float64)


def log_odds(score: FloatArray) -> FloatArray:
    """Log-odds of probabilities, finite also for 0 and 1."""
    clipped = np.clip(score, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float64)


def calibration_slope(score: FloatArray, label: Labels, weight: FloatArray | None = None) -> float:
    """Slope of a logistic regression of the label on the score's log-odds; 0.0 when constant."""
    logit = log_odds(score)
    if np.ptp(logit) == 0.0:
        return 0.0
    return fit_line(logit, label, or_none(weight))[0]


def calibration_curve(
    score: FloatArray, label: Labels, weight: FloatArray | None = None
) -> list[dict[str, float]]:
    """Mean score, observed rate and weight of bins of equally many rows, by rising score."""
    ordered = np.argsort(score, kind="stable")
    counted = or_none(weight)
    bins = []
    for rows in np.array_split(ordered, min(CURVE_BINS, len(ordered))):
        part = None if counted is None else counted[rows]
        size = float(len(rows)) if part is None else float(part.sum())
        bins.append(
            {"score": mean(score[rows], part), "rate": mean(label[rows], part), "rows": size}
        )
    return bins


def calibration_error(score: FloatArray, label: Labels, weight: FloatArray | None = None) -> float:
    """Mean over equally filled bins of the distance between mean score and observed rate."""
    bins = calibration_curve(score, label, weight)
    distance = sum(abs(b["score"] - b["rate"]) * b["rows"] for b in bins)
    return distance / sum(b["rows"] for b in bins)


def top_decile_lift(score: FloatArray, label: Labels, weight: FloatArray | None = None) -> float:
    """Rate among the tenth with the highest scores over the rate of all.

    >>> top_decile_lift(np.arange(10.0), np.array([0] * 9 + [1], dtype=np.int8))
    10.0
    """
    counted = or_none(weight)
    order = np.argsort(-score, kind="stable")
    if counted is None:
        top = order[: max(1, len(score) // 10)]
        return float(label[top].mean() / label.mean())
    reached = np.cumsum(counted[order])
    top = order[: max(1, int(np.searchsorted(reached, reached[-1] / 10, side="right")))]
    return mean(label[top], counted[top]) / mean(label, counted)
