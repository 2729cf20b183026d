"""Cells that a column's values are counted in: frozen quantile bins, atoms, null, infinite.

Twenty quantile bins of the launch values, and own cells for each value that carries at least one
percent of the rows (zero, a default), for null and for infinity. Bins of equal width are blind
where features have long tails: one large value puts all the others into one bin.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Counts: TypeAlias = npt.NDArray[np.int64]

BINS: Final = 20
ATOM_SHARE: Final = 0.01
"""A value or category with at least this share of the launch rows gets a cell of its own."""

ATOM_ROWS: Final = 5
"""And at least so many rows, so that ties in a small table do not each become a cell."""

OTHER: Final = "other"
MISSING: Final = "missing"
INFINITE: Final = "infinite"

SMOOTHING: Final = 0.5
"""Added to every cell before shares are taken, so that an empty cell does not make PSI infinite."""


@dataclass(frozen=True, slots=True)
class NumberBins:
    """Cells of a numeric column: bins between `edges`, then one per atom, then null, infinite.

    A bin holds its lower edge and not its upper one; the outer bins are open. An atom's rows are
    counted in its own cell only.
    """

    edges: Floats
    atoms: Floats

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.edges) + 1 + len(self.atoms) + 2

    def labels(self) -> tuple[str, ...]:
        """What each cell holds, for people."""
        shown = [f"{edge:.4g}" for edge in self.edges]
        if shown:
            pairs = pairwise(shown)
            bins = [f"below {shown[0]}", *(f"{a} to {b}" for a, b in pairs), f"from {shown[-1]}"]
        else:
            bins = [OTHER if len(self.atoms) else "of any size"]
        return (*bins, *(f"= {atom:.6g}" for atom in self.atoms), MISSING, INFINITE)

    def order(self) -> tuple[int, ...]:
        """Cells as a reader expects them: an atom before the bin it lies in, null and inf last."""
        bins = len(self.edges) + 1
        keyed = [(edge, 0, cell) for cell, edge in enumerate([*self.edges.tolist(), math.inf])]
        keyed += [(atom, 1, bins + i) for i, atom in enumerate(self.atoms.tolist())]
        return (*(cell for _, _, cell in sorted(keyed)), self.cells - 2, self.cells - 1)

    def count(self, values: npt.NDArray[Any]) -> Counts:
        """Rows per cell."""
        numbers = as_numbers(values)
        finite = numbers[np.isfinite(numbers)]
        nulls = int(np.isnan(numbers).sum())
        rest, atoms = finite, np.zeros(len(self.atoms), dtype=np.int64)
        if len(self.atoms):
            near = np.searchsorted(self.atoms, finite)
            near[near == len(self.atoms)] = 0
            hit = self.atoms[near] == finite
            atoms = np.bincount(near[hit], minlength=len(self.atoms)).astype(np.int64)
            rest = finite[~hit]
        found = np.searchsorted(self.edges, rest, side="right")
        bins = np.bincount(found, minlength=len(self.edges) + 1).astype(np.int64)
        tail = np.array([nulls, len(numbers) - len(finite) - nulls], dtype=np.int64)
        return np.concatenate([bins, atoms, tail])


@dataclass(frozen=True, slots=True)
class TextBins:
    """Cells of a text column: one per category, then all others, then null."""

    categories: tuple[str, ...]

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.categories) + 2

    def labels(self) -> tuple[str, ...]:
        """What each cell holds, for people."""
        return (*self.categories, OTHER, MISSING)

    def order(self) -> tuple[int, ...]:
        """Cells in the order a reader expects."""
        return tuple(range(self.cells))

    def count(self, values: npt.NDArray[Any]) -> Counts:
        """Rows per cell."""
        texts = as_texts(values)
        seen = Counter(texts)
        counts = [seen.pop(category, 0) for category in self.categories]
        nulls = seen.pop(None, 0)
        return np.array([*counts, sum(seen.values()), nulls], dtype=np.int64)


Bins: TypeAlias = NumberBins | TextBins


def qpsi(launch: Counts, current: Counts) -> float:
    """Population stability index over the same cells, each with half a row added.

    `sum((q - p) * ln(q / p))` over cells with launch share p and current share q.

    >>> qpsi(np.array([50, 50]), np.array([50, 50]))
    0.0
    """
    before = (launch + SMOOTHING) / (launch.sum() + SMOOTHING * len(launch))
    now = (current + SMOOTHING) / (current.sum() + SMOOTHING * len(current))
    return float(((now - before) * np.log(now / before)).sum())


def number_bins(values: npt.NDArray[Any]) -> NumberBins:
    """Quantile bins of the values that are no atoms, in proportion to their share of the rows."""
    numbers = as_numbers(values)
    finite = numbers[np.isfinite(numbers)]
    distinct, counts = np.unique(finite, return_counts=True)
    is_atom = counts >= max(ATOM_ROWS, ATOM_SHARE * len(numbers))
    rest = np.repeat(distinct[~is_atom], counts[~is_atom])
    bins = round(BINS * len(rest) / len(numbers)) if len(numbers) else 0
    if bins < 2:
        return NumberBins(np.empty(0), distinct[is_atom])
    cuts = np.quantile(rest, np.arange(1, bins) / bins, method="inverted_cdf")
    return NumberBins(np.unique(cuts), distinct[is_atom])


def text_bins(values: npt.NDArray[Any]) -> TextBins:
    """The categories that carry at least ATOM_SHARE of the rows, most frequent first."""
    texts = as_texts(values)
    seen = Counter(text for text in texts if text is not None)
    kept = [item for item in seen.items() if item[1] >= max(ATOM_ROWS, ATOM_SHARE * len(texts))]
    return TextBins(tuple(name for name, _ in sorted(kept, key=lambda item: (-item[1], item[0]))))


def is_text(values: npt.NDArray[Any]) -> bool:
    """Whether a column holds texts: string dtype, or objects of which one is a string."""
    if values.dtype.kind in "US":
        return True
    return values.dtype.kind == "O" and any(isinstance(value, str) for value in values)


def as_numbers(values: npt.NDArray[Any]) -> Floats:
    """Values as float64, None as NaN; Decimal and bool objects are read as numbers."""
    if values.dtype.kind != "O":
        return values.astype(np.float64, copy=False)
    read = [math.nan if value is None else float(value) for value in values]
    return np.array(read, dtype=np.float64)


def as_texts(values: npt.NDArray[Any]) -> list[str | None]:
    """Values as texts, None for None and NaN."""
    items = cast(Sequence[Any], values.tolist())
    return [None if item is None or item != item else str(item) for item in items]
