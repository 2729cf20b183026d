"""LightGBM's trees in its own text form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final, Protocol

import numpy as np

from serving.calibrator import FloatArray
from serving.kernels.lightgbm_engine import LightGbmEngine
from serving.kernels.paths import Forest, PathTable, read_forest

BOOSTER: Final = "booster.txt"


class WritesTrees(Protocol):
    """A `lightgbm.Booster`, which training has at hand, or an engine."""

    def model_to_string(self) -> str:
        """The trees as text."""


class LightGbm:
    """Trees of LightGBM that read the rows of an encoder. Thread-safe."""

    kind: ClassVar[str] = "lightgbm"
    method: ClassVar[str] = "path"

    def __init__(self, booster: WritesTrees) -> None:
        """Take the trees of a booster over, as its text tells them.

        Raises:
            EngineFailed: the library refuses them.
        """
        if isinstance(booster, LightGbmEngine):
            self.booster = booster
        else:
            self.booster = LightGbmEngine(booster.model_to_string())

    def margin(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """Log-odds of each row of a matrix whose columns are `features`."""
        return self.booster.margin(matrix)

    def contributions(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
        """SHAP values of the log-odds, and in the last column their mean over the training rows."""
        return self.booster.contributions(matrix)

    def reasons(self, matrix: FloatArray, features: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """The margin, and the steps of each row's paths (see `serving.kernels.paths`)."""
        table, values = self._table, self._forest.leaf_value
        leaves = self.booster.leaves(matrix)
        parts = np.empty((len(matrix), len(features) + 1))
        parts[:, :-1] = table.add_up(leaves)
        parts[:, -1] = table.base
        # In the order of the library, so that the margin has the bits of `margin`.
        reached = values[leaves + self._forest.leaf_starts[:-1]]
        return np.add.accumulate(reached, axis=1)[:, -1], parts

    @cached_property
    def _forest(self) -> Forest:
        return read_forest(self.booster.model_to_string())

    @cached_property
    def _table(self) -> PathTable:
        return PathTable(self._forest, len(self.booster.feature_names))

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
        EngineFailed: the text is no booster, or not whole.
    """
    engine = LightGbmEngine(texts[BOOSTER])
    if engine.feature_names != tuple(features):
        message = "the trees read other features than the list names"
        raise ValueError(message)
    trees = LightGbm(engine)
    # Checks that every child is there, before the library follows one.
    trees.reasons(np.empty((0, len(features))), features)
    return trees
