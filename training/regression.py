"""The logistic candidate: squashed numbers, missing indicators, one weight per frequent level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression

from serving.calibrator import FloatArray
from serving.encoder import Encoder
from serving.logistic import LevelTerm, Logistic, NumberTerm, squash
from training.weighting import Labels, or_none

STRENGTHS: Final = (0.003, 0.03, 0.3)
"""Inverse penalties that are tried; the folds decide."""


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
    matrix: FloatArray,
    label: Labels,
    encoder: Encoder,
    *,
    strength: float,
    weight: FloatArray | None = None,
    signs: Mapping[str, int] | None = None,
) -> Logistic:
    """The penalised logistic regression on a matrix of the encoder.

    `signs` are the directions numbers must have: 1 rising, -1 falling. A number that would go the
    other way is given the weight 0 and the rest is fitted anew; what its absence says stays.
    """
    design, numbers, levels = _design(matrix, encoder)
    if design.shape[1] == 0:
        return Logistic(_log_odds(label, weight), (), ())
    dropped: set[int] = set()
    while True:
        kept = [column for column in range(design.shape[1]) if column not in dropped]
        intercept, found = _weights(design, kept, label, strength, or_none(weight))
        wrong = _wrong_ways(numbers, found, signs or {})
        if not wrong:
            return _logistic(intercept, found, numbers, levels)
        dropped |= wrong


def forced_to_zero(fitted: Logistic, signs: Mapping[str, int]) -> list[str]:
    """Features whose direction was declared and that the rows would have turned round."""
    return [
        term.feature
        for term in fitted.numbers
        if term.feature in signs and term.weight == 0.0 and term.low < term.high
    ]


def _weights(
    design: FloatArray,
    kept: Sequence[int],
    label: Labels,
    strength: float,
    weight: FloatArray | None,
) -> tuple[float, FloatArray]:
    """Intercept, and the weight of every column; 0 for those that are not kept."""
    found = np.zeros(design.shape[1], dtype=np.float64)
    if not kept:
        return _log_odds(label, weight), found
    # Newton, because it needs few passes and ends in the same digits each time.
    fitted = LogisticRegression(C=strength, solver="newton-cholesky", max_iter=100)
    used = design if len(kept) == design.shape[1] else design[:, kept]
    fitted.fit(used, label, sample_weight=weight)
    found[kept] = fitted.coef_[0]
    return float(fitted.intercept_[0]), found


def _wrong_ways(
    numbers: Sequence[_Number], found: FloatArray, signs: Mapping[str, int]
) -> set[int]:
    """Columns of numbers that go against their declared direction."""
    return {
        number.column
        for number in numbers
        if found[number.column] * signs.get(number.feature, 0) < 0
    }


def _logistic(
    intercept: float, weight: FloatArray, numbers: Sequence[_Number], levels: Sequence[_Levels]
) -> Logistic:
    return Logistic(
        intercept=intercept,
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


def _log_odds(label: Labels, weight: FloatArray | None) -> float:
    counted = np.ones(len(label)) if weight is None else weight
    rate = (float(np.sum(counted * label)) + 0.5) / (float(counted.sum()) + 1.0)
    return float(np.log(rate / (1 - rate)))
