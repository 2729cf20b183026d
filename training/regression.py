"""The logistic candidate: squashed numbers, missing indicators, one weight per frequent level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from serving.calibrator import FloatArray
from serving.encoder import Encoder
from serving.logistic import LevelTerm, Logistic, NumberTerm, squash

STRENGTHS: Final = (0.003, 0.03, 0.3)
"""Inverse penalties that are tried; the folds decide."""

Labels = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class _Number:
    """A numeric feature that varies, and its columns in the design."""

    feature: str
    mean: float
    scale: float
    column: int
    #: None: it was never missing.
    missing_column: int | None


@dataclass(frozen=True, slots=True)
class _Levels:
    """A text feature, and the design column of its first level."""

    feature: str
    count: int
    column: int


def fit_logistic(
    matrix: FloatArray, label: Labels, encoder: Encoder, *, strength: float
) -> Logistic:
    """The penalised logistic regression on a matrix of the encoder."""
    design, numbers, levels = _design(matrix, encoder)
    if design.shape[1] == 0:
        return Logistic(_log_odds(label), (), ())
    # Newton, because it needs few passes and ends in the same digits each time.
    fitted = LogisticRegression(C=strength, solver="newton-cholesky", max_iter=100)
    fitted.fit(design, label)
    weight = fitted.coef_[0]
    return Logistic(
        intercept=float(fitted.intercept_[0]),
        numbers=tuple(
            NumberTerm(
                number.feature,
                number.mean,
                number.scale,
                float(weight[number.column]),
                0.0 if number.missing_column is None else float(weight[number.missing_column]),
            )
            for number in numbers
        ),
        levels=tuple(
            LevelTerm(
                text.feature,
                tuple(weight[text.column : text.column + text.count].tolist()),
                0.0,
            )
            for text in levels
        ),
    )


def _design(
    matrix: FloatArray, encoder: Encoder
) -> tuple[FloatArray, Sequence[_Number], Sequence[_Levels]]:
    """The columns that are regressed on, and which feature each belongs to."""
    columns: list[FloatArray] = []
    numbers: list[_Number] = []
    levels: list[_Levels] = []
    for position, feature in enumerate(encoder.features):
        values = matrix[:, position]
        if feature in encoder.categories:
            count = len(encoder.categories[feature])
            levels.append(_Levels(feature, count, len(columns)))
            columns.extend((values == code).astype(np.float64) for code in range(count))
            continue
        absent = np.isnan(values)
        squashed = squash(values[~absent])
        scale = float(squashed.std()) if len(squashed) else 0.0
        some_absent = bool(absent.any()) and not bool(absent.all())
        if scale < _CONSTANT and not some_absent:
            continue
        mean = float(squashed.mean())
        standard = np.zeros(len(values))
        standard[~absent] = (squashed - mean) / max(scale, _CONSTANT)
        if scale < _CONSTANT:
            standard[:] = 0.0
        missing_column = len(columns) + 1 if some_absent else None
        numbers.append(_Number(feature, mean, max(scale, _CONSTANT), len(columns), missing_column))
        columns.append(standard)
        if some_absent:
            columns.append(absent.astype(np.float64))
    shape = (len(matrix), 0)
    return (np.column_stack(columns) if columns else np.empty(shape)), numbers, levels


_CONSTANT: Final = 1e-9
"""A spread below this is rounding, not variation."""


def _log_odds(label: Labels) -> float:
    rate = (label.sum() + 0.5) / (len(label) + 1.0)
    return float(np.log(rate / (1 - rate)))
