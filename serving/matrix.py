"""From what the store holds, feature-major, to the matrix a model reads, row-major."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.encoder import Encoder
from serving.model import ModelUnusable

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[Any]


class MatrixReader:
    """The rows of one layout that one model reads, found once and used for every batch.

    Thread-safe. Gives what `Encoder.matrix` gives of the same values, bit for bit.
    """

    def __init__(self, encoder: Encoder, numbers: Sequence[str], texts: Sequence[str]) -> None:
        """Look every feature up in the names of a layout.

        Raises:
            ModelUnusable: a text feature is not among the texts, or another not among the numbers.
        """
        levels = encoder.categories
        unknown = sorted(
            name for name in encoder.features if name not in (texts if name in levels else numbers)
        )
        if unknown:
            message = f"The model reads what is not served: {', '.join(unknown)}. Train it again."
            raise ModelUnusable(message)
        self._height = len(numbers)
        rows = {name: row for row, name in enumerate(numbers)}
        # A text feature takes any row first; its codes are written over it.
        self._rows = np.array([rows.get(name, 0) for name in encoder.features], dtype=np.intp)
        self._texts = [
            (at, list(texts).index(name), _codes(levels[name]))
            for at, name in enumerate(encoder.features)
            if name in levels
        ]

    def matrix(self, numbers: Floats, texts: Sequence[Texts]) -> Floats:
        """The model's rows of (numbers, customers) and one array of customers per text.

        Returns (customers, features) in C order; missing, unseen and infinite are NaN.

        Raises:
            ValueError: there are more or fewer numbers than were named.
        """
        if len(numbers) != self._height:
            message = f"numbers has {len(numbers)} rows; the layout names {self._height}."
            raise ValueError(message)
        if self._height:
            chosen = numbers.take(self._rows, axis=0)
        else:
            chosen = np.empty((len(self._rows), numbers.shape[1]))
        for at, place, codes in self._texts:
            chosen[at] = [codes.get(text, np.nan) for text in texts[place]]
        np.copyto(chosen, np.nan, where=np.isinf(chosen))
        return np.ascontiguousarray(chosen.T)


def _codes(levels: Sequence[str]) -> dict[str, float]:
    return {level: float(code) for code, level in enumerate(levels)}
