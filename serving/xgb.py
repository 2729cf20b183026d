"""XGBoost's trees in its own JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

from serving.calibrator import FloatArray
from serving.kernels.xgboost_engine import XgBoostEngine

XGBOOST_FILE: Final = "xgboost.json"


class WritesTrees(Protocol):
    """An `xgboost.Booster`, which training has at hand, or an engine."""

    def save_raw(self, raw_format: str = ...) -> bytes | bytearray:
        """The trees as text."""


class XgBoost:
    """Trees of XGBoost that read the rows of an encoder. Thread-safe.

    XGBoost rounds features to 32 bits, in training as here.
    """

    kind: ClassVar[str] = "xgboost"
    method: ClassVar[str] = "path"

    def __init__(self, booster: WritesTrees) -> None:
        """Take the trees of a booster over, as its text tells them.

        Raises:
            EngineFailed: the library refuses them.
        """
        if isinstance(booster, XgBoostEngine):
            self.booster = booster
        else:
            self.booster = XgBoostEngine(bytes(booster.save_raw("json")).decode())

    def margin(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """Log-odds of each row of a matrix whose columns are `features`."""
        return self.booster.margin(matrix)

    def contributions(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """SHAP values of the log-odds, and in the last column their mean over the training rows."""
        return self.booster.contributions(matrix)

    def reasons(self, matrix: FloatArray, features: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """The margin, and the steps of each row's paths (see `serving.kernels.paths`)."""
        margin, parts = self.booster.margin(matrix), self.booster.paths(matrix)
        # The library adds both up in 32 bits and in another order.
        parts[:, -1] += margin - parts.sum(axis=1)
        return margin, parts

    def texts(self) -> Mapping[str, str]:
        """The file of the trees."""
        return {XGBOOST_FILE: self.booster.save_raw("json").decode()}

    def to_spec(self) -> dict[str, Any]:
        """Nothing: the trees are a file."""
        return {}


def read_xgboost(
    spec: Mapping[str, Any], texts: Mapping[str, str], features: Sequence[str]
) -> XgBoost:
    """The trees of a model folder.

    Raises:
        ValueError: they read other features than are listed.
        EngineFailed: the text is no booster.
    """
    engine = XgBoostEngine(texts[XGBOOST_FILE])
    kinds = tuple(feature_types(features, spec["categories"]))
    if engine.feature_names != tuple(features) or engine.feature_types != kinds:
        message = "the trees read other features than the list names"
        raise ValueError(message)
    return XgBoost(engine)


def feature_types(features: Sequence[str], categories: Mapping[str, Any]) -> list[str]:
    """XGBoost's word for each feature: `c` for a code of a level, `float` for a number."""
    return ["c" if name in categories else "float" for name in features]
