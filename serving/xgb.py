"""XGBoost's trees in its own JSON form."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from serving.calibrator import FloatArray

XGBOOST_FILE: Final = "xgboost.json"


def library() -> Any:
    """The module `xgboost`.

    Imported on first use and not above: it takes two seconds, and only the process that loads or
    fits such a model should wait for it.
    """
    return importlib.import_module("xgboost")


@dataclass(frozen=True, slots=True)
class XgBoost:
    """A booster of XGBoost that reads the rows of an encoder.

    XGBoost rounds features to 32 bits, in training as here.
    """

    booster: Any

    kind: ClassVar[str] = "xgboost"

    def margin(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """Log-odds of each row of a matrix whose columns are `features`."""
        rows = np.ascontiguousarray(matrix)
        # The names were compared at load; here they would have to come with every row.
        found = self.booster.inplace_predict(rows, predict_type="margin", validate_features=False)
        return np.asarray(found, dtype=np.float64).reshape(-1)

    def contributions(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """SHAP values of the log-odds, and in the last column their mean over the training rows."""
        if matrix.shape[0] == 0:
            return np.empty((0, len(features) + 1), dtype=np.float64)
        data = library().DMatrix(
            np.ascontiguousarray(matrix),
            feature_names=self.booster.feature_names,
            feature_types=self.booster.feature_types,
            enable_categorical=True,
            nthread=1,
        )
        return np.asarray(self.booster.predict(data, pred_contribs=True), dtype=np.float64)

    def texts(self) -> Mapping[str, str]:
        """The file of the trees."""
        return {XGBOOST_FILE: bytes(self.booster.save_raw("json")).decode()}

    def to_spec(self) -> dict[str, Any]:
        """Nothing: the trees are a file."""
        return {}


def read_xgboost(
    spec: Mapping[str, Any], texts: Mapping[str, str], features: Sequence[str]
) -> XgBoost:
    """The trees of a model folder.

    Raises:
        ValueError: they read other features than are listed, or the text is no booster.
    """
    booster = library().Booster()
    # XGBoostError is a ValueError.
    booster.load_model(bytearray(texts[XGBOOST_FILE].encode()))
    booster.set_param({"nthread": 1})
    kinds = feature_types(features, spec["categories"])
    if booster.feature_names != list(features) or booster.feature_types != kinds:
        message = "the trees read other features than the list names"
        raise ValueError(message)
    return XgBoost(booster)


def feature_types(features: Sequence[str], categories: Mapping[str, Any]) -> list[str]:
    """XGBoost's word for each feature: `c` for a code of a level, `float` for a number."""
    return ["c" if name in categories else "float" for name in features]
