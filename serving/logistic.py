"""Logistic regression as data: what training fitted, evaluated with numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.calibrator import FloatArray


def squash(values: FloatArray) -> FloatArray:
    """`sign(x) * log(1 + |x|)`: counts and amounts with long tails become nearly straight.

    >>> squash(np.array([0.0, np.e - 1.0])).tolist()
    [0.0, 1.0]
    """
    return np.sign(values) * np.log1p(np.abs(values))


@dataclass(frozen=True, slots=True)
class NumberTerm:
    """One numeric feature: bounded, squashed, standardised; a missing value adds `missing` instead.

    Values beyond those that were fitted on count as the nearest of them: a straight line says
    nothing about a tenure or a total that no customer had yet.
    """

    feature: str
    low: float
    high: float
    mean: float
    #: Never zero.
    scale: float
    weight: float
    missing: float


@dataclass(frozen=True, slots=True)
class LevelTerm:
    """One text feature: a weight per level code; a missing or rare level adds `other`."""

    feature: str
    weights: tuple[float, ...]
    other: float


@dataclass(frozen=True, slots=True)
class Logistic:
    """The fitted terms. A row's margin does not depend on the rows beside it, to the last bit."""

    intercept: float
    numbers: tuple[NumberTerm, ...]
    levels: tuple[LevelTerm, ...]

    def margin(self, matrix: FloatArray, positions: Mapping[str, int]) -> FloatArray:
        """Log-odds of each row; `positions` are the features' columns in the matrix."""
        # Term by term: a BLAS product adds in another order for one row than for many.
        total = np.full(matrix.shape[0], self.intercept, dtype=np.float64)
        for number in self.numbers:
            column = matrix[:, positions[number.feature]]
            bounded = np.clip(column, number.low, number.high)
            standard = (squash(bounded) - number.mean) / number.scale
            total += np.where(np.isnan(column), number.missing, number.weight * standard)
        for level in self.levels:
            column = matrix[:, positions[level.feature]]
            weights = np.array([*level.weights, level.other], dtype=np.float64)
            code = np.where(np.isnan(column), len(level.weights), column).astype(np.int64)
            total += weights[code]
        return total

    def to_json(self) -> dict[str, Any]:
        """What `logistic_from_json` reads."""
        return {
            "intercept": self.intercept,
            "numbers": [
                [t.feature, t.low, t.high, t.mean, t.scale, t.weight, t.missing]
                for t in self.numbers
            ],
            "levels": [[term.feature, list(term.weights), term.other] for term in self.levels],
        }


def logistic_from_json(value: Mapping[str, Any]) -> Logistic:
    """The terms that were written."""
    return Logistic(
        intercept=float(value["intercept"]),
        numbers=tuple(
            NumberTerm(str(name), *(float(number) for number in numbers))
            for name, *numbers in value["numbers"]
        ),
        levels=tuple(
            LevelTerm(str(name), tuple(float(w) for w in weights), float(other))
            for name, weights, other in value["levels"]
        ),
    )
