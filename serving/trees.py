"""LightGBM's trees in its own text form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import lightgbm
import numpy as np

from serving.calibrator import FloatArray

BOOSTER: Final = "booster.txt"


@dataclass(frozen=True, slots=True)
class LightGbm:
    """A booster of LightGBM that reads the rows of an encoder."""

    booster: lightgbm.Booster

    kind: ClassVar[str] = "lightgbm"

    def margin(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """Log-odds of each row of a matrix whose columns are `features`."""
        # A matrix of no rows is an error to LightGBM; threads cost more than they bring here.
        if matrix.shape[0] == 0:
            return np.empty(0, dtype=np.float64)
        rows = np.ascontiguousarray(matrix)
        return np.asarray(
            self.booster.predict(rows, raw_score=True, num_threads=1), dtype=np.float64
        )

    def contributions(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """SHAP values of the log-odds, and in the last column their mean over the training rows."""
        if matrix.shape[0] == 0:
            return np.empty((0, len(features) + 1), dtype=np.float64)
        rows = np.ascontiguousarray(matrix)
        return np.asarray(
            self.booster.predict(rows, pred_contrib=True, num_threads=1), dtype=np.float64
        )

    def texts(self) -> Mapping[str, str]:
        """The file of the trees."""
        return {BOOSTER: self.booster.model_to_string()}

    def to_spec(self) -> dict[str, Any]:
        """Nothing: the trees are a file."""
        return {}


def read_lightgbm(
    spec: Mapping[str, Any], texts: Mapping[str, str], features: Sequence[str]
) -> LightGbm:
    """The trees of a model folder.

    Raises:
        ValueError: they read other features than are listed.
        lightgbm.basic.LightGBMError: the text is no booster.
    """
    booster = lightgbm.Booster(model_str=texts[BOOSTER])
    if booster.feature_name() != list(features):
        message = "the trees read other features than the list names"
        raise ValueError(message)
    return LightGbm(booster)
