"""Logistic regression as data: what training fitted, evaluated with numpy alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

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

    kind: ClassVar[str] = "logistic"

    def margin(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """Log-odds of each row of a matrix whose columns are `features`."""
        # Term by term: a BLAS product adds in another order for one row than for many.
        total = np.full(matrix.shape[0], self.intercept, dtype=np.float64)
        for _, values in self._terms(matrix, features):
            total += values
        return total

    def contributions(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """What each feature adds to each row's log-odds, and in the last column the intercept.

        A number adds nothing at its mean over the training rows.
        """
        found = np.zeros((matrix.shape[0], len(features) + 1), dtype=np.float64)
        for position, values in self._terms(matrix, features):
            found[:, position] = values
        found[:, -1] = self.intercept
        return found

    def _terms(
        self, matrix: FloatArray, features: Sequence[str]
    ) -> Iterator[tuple[int, FloatArray]]:
        """The column of each term's feature, and what the term adds to each row."""
        positions = {name: i for i, name in enumerate(features)}
        for number in self.numbers:
            position = positions[number.feature]
            column = matrix[:, position]
            bounded = np.clip(column, number.low, number.high)
            standard = (squash(bounded) - number.mean) / number.scale
            yield position, np.where(np.isnan(column), number.missing, number.weight * standard)
        for level in self.levels:
            position = positions[level.feature]
            column = matrix[:, position]
            weights = np.array([*level.weights, level.other], dtype=np.float64)
            code = np.where(np.isnan(column), len(level.weights), column).astype(np.int64)
            yield position, weights[code]

    def texts(self) -> Mapping[str, str]:
        """No file of its own: it is in the specification."""
        return {}

    def to_spec(self) -> dict[str, Any]:
        """What the specification holds of it."""
        return {self.kind: self.to_json()}

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


def read_logistic(
    spec: Mapping[str, Any], texts: Mapping[str, str], features: Sequence[str]
) -> Logistic:
    """The regression of a specification.

    Raises:
        ValueError: it weighs a feature that is not listed.
    """
    found = logistic_from_json(spec[Logistic.kind])
    used = {term.feature for term in found.numbers} | {term.feature for term in found.levels}
    if not used <= set(features):
        message = f"weights of features that are not listed: {sorted(used - set(features))}"
        raise ValueError(message)
    return found
