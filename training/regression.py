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
    low: float
    high: float
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
                number.low,
                number.high,
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
        number = _number(feature, values, len(columns))
        if number is None:
            continue
        numbers.append(number)
        columns.append(np.nan_to_num((squash(values) - number.mean) / number.scale, nan=0.0))
        if number.missing_column is not None:
            columns.append(np.isnan(values).astype(np.float64))
    shape = (len(matrix), 0)
    return (np.column_stack(columns) if columns else np.empty(shape)), numbers, levels


def _number(feature: str, values: FloatArray, column: int) -> _Number | None:
    """How a numeric feature enters the design, None when it is the same in every row."""
    present = values[~np.isnan(values)]
    if not len(present):
        return None
    squashed = squash(present)
    some_absent = len(present) < len(values)
    is_constant = float(squashed.std()) < _CONSTANT
    if is_constant and not some_absent:
        return None
    return _Number(
        feature,
        low=float(present.min()),
        high=float(present.max()),
        mean=float(squashed[0] if is_constant else squashed.mean()),
        scale=1.0 if is_constant else float(squashed.std()),
        column=column,
        missing_column=column + 1 if some_absent else None,
    )


_CONSTANT: Final = 1e-9
"""A spread below this is rounding, not variation."""


def _log_odds(label: Labels) -> float:
    rate = (label.sum() + 0.5) / (len(label) + 1.0)
    return float(np.log(rate / (1 - rate)))
