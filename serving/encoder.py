"""From named feature columns to the matrix an estimator reads: by name, never by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.calibrator import FloatArray

Columns = Mapping[str, npt.NDArray[Any]]
"""Features by name: numbers as float64 with NaN for missing, texts as objects with None."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """The features of a model, in the order of its matrix, and the levels of the text ones."""

    features: tuple[str, ...]
    #: Levels of each text feature; a level's place is its code. Others count as missing.
    categories: Mapping[str, tuple[str, ...]]

    def matrix(self, columns: Columns) -> FloatArray:
        """One row per customer, one column per feature; missing, unseen and infinite are NaN.

        Raises:
            KeyError: a feature is not among the columns; the argument lists all that are not.
        """
        missing = [name for name in self.features if name not in columns]
        if missing:
            raise KeyError(", ".join(missing))
        rows = len(columns[self.features[0]])
        # By column, because that is how it is filled; LightGBM is given rows (see `as_rows`).
        matrix = np.empty((rows, len(self.features)), dtype=np.float64, order="F")
        for position, name in enumerate(self.features):
            if name in self.categories:
                matrix[:, position] = encode_text(columns[name], self.categories[name])
            else:
                matrix[:, position] = columns[name]
        matrix[~np.isfinite(matrix)] = np.nan
        return matrix


def encode_text(values: npt.NDArray[Any], levels: Sequence[str]) -> FloatArray:
    """Code of each text, NaN for None and for a text that is no level.

    >>> encode_text(np.array(["FR", None, "XX"], dtype=object), ["DE", "FR"]).tolist()
    [1.0, nan, nan]
    """
    codes = {level: float(code) for code, level in enumerate(levels)}
    return np.array([codes.get(value, np.nan) for value in values], dtype=np.float64)
