"""Logistic regression as data: what training fitted, evaluated with numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

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
class _Terms:
    """All terms as vectors, for matrices of one list of features."""

    #: Columns of the numbers; beside it one value per number.
    number_at: npt.NDArray[np.intp]
    low: FloatArray
    high: FloatArray
    mean: FloatArray
    scale: FloatArray
    weight: FloatArray
    missing: FloatArray
    #: Columns of the levels, how many each has, and where its weights begin.
    level_at: npt.NDArray[np.intp]
    level_count: npt.NDArray[np.intp]
    level_start: npt.NDArray[np.intp]
    #: The weights of all levels, each followed by its `other`.
    level_weight: FloatArray

    @classmethod
    def of(cls, logistic: Logistic, features: Sequence[str]) -> _Terms:
        """The terms of a regression."""
        place = {name: at for at, name in enumerate(features)}
        numbers, levels = logistic.numbers, logistic.levels
        count = np.array([len(term.weights) for term in levels], dtype=np.intp)
        flat = [weight for term in levels for weight in (*term.weights, term.other)]
        return cls(
            number_at=np.array([place[term.feature] for term in numbers], dtype=np.intp),
            low=np.array([term.low for term in numbers]),
            high=np.array([term.high for term in numbers]),
            mean=np.array([term.mean for term in numbers]),
            scale=np.array([term.scale for term in numbers]),
            weight=np.array([term.weight for term in numbers]),
            missing=np.array([term.missing for term in numbers]),
            level_at=np.array([place[term.feature] for term in levels], dtype=np.intp),
            level_count=count,
            level_start=np.cumsum(count + 1) - (count + 1),
            level_weight=np.array(flat, dtype=np.float64),
        )

    def added(self, matrix: FloatArray) -> FloatArray:
        """What each term adds to each row, the numbers first: (rows, terms)."""
        columns = matrix.take(self.number_at, axis=1)
        standard = (squash(np.clip(columns, self.low, self.high)) - self.mean) / self.scale
        added = np.where(np.isnan(columns), self.missing, self.weight * standard)
        if not len(self.level_at):
            return added
        codes = matrix.take(self.level_at, axis=1)
        # NaN is less than nothing, so that it counts as no level.
        place = np.where(codes < self.level_count, codes, self.level_count).astype(np.intp)
        return np.concatenate((added, self.level_weight[place + self.level_start]), axis=1)


@dataclass(frozen=True, slots=True)
class Logistic:
    """The fitted terms. A row's margin does not depend on the rows beside it, to the last bit."""

    intercept: float
    numbers: tuple[NumberTerm, ...]
    levels: tuple[LevelTerm, ...]
    _terms: dict[tuple[str, ...], _Terms] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    kind: ClassVar[str] = "logistic"
    method: ClassVar[str] = "linear"

    def margin(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """Log-odds of each row of a matrix whose columns are `features`."""
        return self._sum(self._of(features).added(matrix))

    def contributions(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """What each feature adds to each row's log-odds, and in the last column the intercept.

        A number adds nothing at its mean over the training rows.
        """
        return self.reasons(matrix, features)[1]

    def reasons(self, matrix: FloatArray, features: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """The margin and the contributions, which are the same ones here."""
        terms = self._of(features)
        added = terms.added(matrix)
        parts = np.zeros((matrix.shape[0], len(features) + 1), dtype=np.float64)
        parts[:, np.concatenate((terms.number_at, terms.level_at))] = added
        parts[:, -1] = self.intercept
        return self._sum(added), parts

    def _of(self, features: Sequence[str]) -> _Terms:
        key = tuple(features)
        terms = self._terms.get(key)
        if terms is None:
            terms = self._terms[key] = _Terms.of(self, key)
        return terms

    def _sum(self, added: FloatArray) -> FloatArray:
        """The intercept, then term after term.

        Neither a BLAS product nor `sum` will do: they add in another order for one row than for
        many.
        """
        total = np.empty((added.shape[0], added.shape[1] + 1))
        total[:, 0] = self.intercept
        total[:, 1:] = added
        return np.add.accumulate(total, axis=1)[:, -1]

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
