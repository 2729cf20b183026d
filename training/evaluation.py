"""How good probabilities are, on rows that nothing was fitted on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from serving.calibrator import FloatArray

CURVE_BINS: Final = 10
"""Equally filled bins of the calibration curve and of the calibration error."""

_EDGE: Final = 1e-12

Labels = npt.NDArray[np.int8]


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


def evaluate(score: FloatArray, label: Labels) -> Evaluation:
    """The metrics of scores against labels; both labels must occur."""
    return Evaluation(
        auc=float(roc_auc_score(label, score)),
        average_precision=float(average_precision_score(label, score)),
        log_loss=float(log_losses(score, label).mean()),
        brier=float(np.mean((score - label) ** 2)),
        calibration_slope=calibration_slope(score, label),
        calibration_ratio=float(score.mean() / label.mean()),
        calibration_error=calibration_error(score, label),
        top_decile_lift=top_decile_lift(score, label),
    )


def log_losses(score: FloatArray, label: Labels) -> FloatArray:
    """Minus the logarithm of the probability given to what happened, row by row."""
    given = np.where(label == 1, score, 1.0 - score)
    return np.asarray(-np.log(np.clip(given, _EDGE, 1.0)), dtype=np.float64)


def calibration_slope(score: FloatArray, label: Labels) -> float:
    """Slope of a logistic regression of the label on the score's log-odds; 0.0 when constant."""
    clipped = np.clip(score, _EDGE, 1 - _EDGE)
    logit = np.log(clipped / (1 - clipped))
    if np.ptp(logit) == 0.0:
        return 0.0
    fitted = LogisticRegression(C=1e6, solver="newton-cholesky", max_iter=200)
    fitted.fit(logit.reshape(-1, 1), label)
    return float(fitted.coef_[0, 0])


def calibration_curve(score: FloatArray, label: Labels) -> list[dict[str, float]]:
    """Mean score, observed rate and rows of equally filled bins, by rising score."""
    ordered = np.argsort(score, kind="stable")
    return [
        {
            "score": float(score[rows].mean()),
            "rate": float(label[rows].mean()),
            "rows": float(len(rows)),
        }
        for rows in np.array_split(ordered, min(CURVE_BINS, len(ordered)))
    ]


def calibration_error(score: FloatArray, label: Labels) -> float:
    """Mean over equally filled bins of the distance between mean score and observed rate."""
    bins = calibration_curve(score, label)
    distance = sum(abs(b["score"] - b["rate"]) * b["rows"] for b in bins)
    return distance / len(score)


def top_decile_lift(score: FloatArray, label: Labels) -> float:
    """Rate among the tenth with the highest scores over the rate of all.

    >>> top_decile_lift(np.arange(10.0), np.array([0] * 9 + [1], dtype=np.int8))
    10.0
    """
    top = np.argsort(-score, kind="stable")[: max(1, len(score) // 10)]
    return float(label[top].mean() / label.mean())
