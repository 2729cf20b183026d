"""From an estimator's margin to a probability: the last step of every score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
"""A vector or matrix of doubles."""


def sigmoid(margin: FloatArray) -> FloatArray:
    """Logistic function, without overflow at either end.

    >>> sigmoid(np.array([0.0, -1000.0])).tolist()
    [0.5, 0.0]
    """
    small = np.exp(-np.abs(margin))
    return np.where(margin >= 0, 1.0, small) / (1.0 + small)


@dataclass(frozen=True, slots=True)
class Platt:
    """`sigmoid(slope * margin + intercept)`: strictly rising, two numbers to fit."""

    slope: float
    intercept: float

    def apply(self, margin: FloatArray) -> FloatArray:
        """Probabilities of the margins."""
        return sigmoid(self.slope * margin + self.intercept)

    def to_json(self) -> dict[str, Any]:
        """What `calibrator_from_json` reads."""
        return {"kind": "platt", "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True, slots=True)
class Isotonic:
    """A rising line through the knots, flat outside them. `margins` strictly rise."""

    margins: tuple[float, ...]
    probabilities: tuple[float, ...]
    #: Both as arrays: made once, because making them costs more than a score.
    _knots: tuple[FloatArray, FloatArray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        knots = (np.array(self.margins, dtype=np.float64), np.array(self.probabilities, np.float64))
        object.__setattr__(self, "_knots", knots)

    def apply(self, margin: FloatArray) -> FloatArray:
        """Probabilities of the margins."""
        return np.asarray(np.interp(margin, *self._knots), dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """What `calibrator_from_json` reads."""
        return {
            "kind": "isotonic",
            "margins": list(self.margins),
            "probabilities": list(self.probabilities),
        }


Calibrator = Platt | Isotonic


def calibrator_from_json(value: Mapping[str, Any]) -> Calibrator:
    """The calibrator that was written.

    Raises:
        ValueError: the kind is unknown, or the knots do not rise.
    """
    kind = value.get("kind")
    if kind == "platt":
        return Platt(float(value["slope"]), float(value["intercept"]))
    if kind == "isotonic":
        margins = tuple(float(x) for x in value["margins"])
        probabilities = tuple(float(x) for x in value["probabilities"])
        if len(margins) != len(probabilities) or not margins:
            message = f"{len(margins)} margins for {len(probabilities)} probabilities"
            raise ValueError(message)
        if np.any(np.diff(margins) <= 0) or np.any(np.diff(probabilities) < 0):
            message = "isotonic knots do not rise"
            raise ValueError(message)
        return Isotonic(margins, probabilities)
    message = f"calibrator kind {kind!r} is not one of platt, isotonic"
    raise ValueError(message)
