"""The kinds of estimators a model can have, and how each is read from a model folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

import numpy as np

from serving.calibrator import FloatArray
from serving.logistic import Logistic, read_logistic
from serving.trees import LightGbm, read_lightgbm
from serving.xgb import XgBoost, read_xgboost


class Estimator(Protocol):
    """What turns the rows of an encoder into log-odds. A row's do not depend on other rows."""

    kind: ClassVar[str]

    @property
    def method(self) -> str:
        """How `reasons` are found: `path` or `linear`."""

    def margin(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """Log-odds of each row of a matrix whose columns are `features`."""

    def contributions(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """What each feature adds to each row's log-odds; the last column is what all rows share.

        A row's values sum to its margin, but for rounding.
        """

    def reasons(self, matrix: FloatArray, features: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """The margin of each row to the last bit, and contributions cheap enough to serve.

        They have the form of `contributions`, and sum to the margin but for rounding.
        """

    def texts(self) -> Mapping[str, str]:
        """Files by name; no two kinds share a name."""

    def to_spec(self) -> dict[str, Any]:
        """What the specification holds of it."""


@dataclass(frozen=True, slots=True)
class Blend:
    """The weighted mean of the log-odds of several estimators, each of another kind."""

    members: tuple[Estimator, ...]
    #: One per member; they sum to 1.
    shares: tuple[float, ...]

    kind: ClassVar[str] = "blend"

    @property
    def method(self) -> str:
        """`linear` when all members are."""
        return "path" if any(member.method == "path" for member in self.members) else "linear"

    def margin(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """Log-odds of each row of a matrix whose columns are `features`."""
        total = np.zeros(matrix.shape[0], dtype=np.float64)
        for member, share in zip(self.members, self.shares, strict=True):
            total += share * member.margin(matrix, features)
        return total

    def contributions(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """The weighted mean of the members' contributions."""
        total = np.zeros((matrix.shape[0], len(features) + 1), dtype=np.float64)
        for member, share in zip(self.members, self.shares, strict=True):
            total += share * member.contributions(matrix, features)
        return total

    def reasons(self, matrix: FloatArray, features: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """The weighted means of the members' margins and reasons."""
        total = np.zeros(matrix.shape[0], dtype=np.float64)
        parts = np.zeros((matrix.shape[0], len(features) + 1), dtype=np.float64)
        for member, share in zip(self.members, self.shares, strict=True):
            margin, added = member.reasons(matrix, features)
            total += share * margin
            parts += share * added
        return total, parts

    def texts(self) -> Mapping[str, str]:
        """The files of all members."""
        return {name: text for m in self.members for name, text in m.texts().items()}

    def to_spec(self) -> dict[str, Any]:
        """The members' kinds, and what each has in the specification."""
        own = {"members": [m.kind for m in self.members], "shares": list(self.shares)}
        return {self.kind: own} | {k: v for m in self.members for k, v in m.to_spec().items()}


def read_estimator(spec: Mapping[str, Any], texts: Mapping[str, str]) -> Estimator:
    """The estimator of a specification and the files of its folder.

    Raises:
        KeyError: a part is missing.
        ValueError: the kind is unknown, or it reads other features than are listed.
        EngineFailed: a library refuses the trees.
    """
    if spec["estimator"] != Blend.kind:
        return _single(spec["estimator"], spec, texts)
    blend = spec[Blend.kind]
    members = tuple(_single(kind, spec, texts) for kind in blend["members"])
    shares = tuple(float(share) for share in blend["shares"])
    if len(shares) != len(members):
        message = f"{len(shares)} shares for {len(members)} members"
        raise ValueError(message)
    return Blend(members, shares)


_READERS: Final[Mapping[str, Callable[..., Estimator]]] = {
    Logistic.kind: read_logistic,
    LightGbm.kind: read_lightgbm,
    XgBoost.kind: read_xgboost,
}


def _single(kind: str, spec: Mapping[str, Any], texts: Mapping[str, str]) -> Estimator:
    if kind not in _READERS:
        message = f"estimator {kind!r} is not one of {', '.join(_READERS)}, {Blend.kind}"
        raise ValueError(message)
    return _READERS[kind](spec, texts, spec["features"])
