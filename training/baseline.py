"""What every model must be worth more than: recency, frequency and money, regressed."""

from __future__ import annotations

from typing import Final

from feature_repo import naming
from serving.calibrator import FloatArray, sigmoid
from serving.encoder import Encoder
from training.dataset import Dataset
from training.folds import Mask
from training.regression import fit_logistic

RFM: Final = (
    naming.hours_since("purchase"),
    naming.windowed("purchases", 365),
    naming.windowed("revenue", 365),
)
"""How long ago the last purchase was, how many there were in a year, and for how much."""

_ENCODER: Final = Encoder(RFM, {})
_STRENGTH: Final = 1.0


def baseline_scores(dataset: Dataset, development: Mask, test: Mask) -> FloatArray:
    """Probabilities of the test rows, from a fit on the development rows."""
    matrix = _ENCODER.matrix(dataset.columns)
    fitted = fit_logistic(
        matrix[development],
        dataset.label[development],
        _ENCODER,
        strength=_STRENGTH,
        weight=dataset.weight[development],
    )
    return sigmoid(fitted.margin(matrix[test], RFM))
