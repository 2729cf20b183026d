"""What every candidate learns from and is judged by: one matrix, its folds, a trial's result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from serving.calibrator import FloatArray
from serving.encoder import Encoder
from serving.estimators import Estimator
from training.folds import Fold, Mask
from training.weighting import Labels


class Fit(Protocol):
    """Fits an estimator on a matrix, its labels and weights."""

    def __call__(self, matrix: FloatArray, label: Labels, *, weight: FloatArray) -> Estimator:
        """The fitted estimator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """All rows, and how candidates may use them. Arrays are equally long."""

    matrix: FloatArray
    label: Labels
    weight: FloatArray
    encoder: Encoder
    #: In order of time.
    folds: Sequence[Fold]
    development: Mask
    seed: int
    #: Directions that are declared: 1 rising, -1 falling.
    signs: Mapping[str, int] = field(default_factory=dict)

    def later(self, fold: Fold) -> Later:
        """The rows a fold judges by."""
        rows = fold.judge
        return Later(self.matrix[rows], self.label[rows], self.weight[rows])


@dataclass(frozen=True, slots=True)
class Later:
    """Rows to judge by."""

    matrix: FloatArray
    label: Labels
    weight: FloatArray


@dataclass(frozen=True, slots=True)
class Watched:
    """Trees that were grown under the eyes of later rows."""

    #: Log-loss of the later rows after each tree.
    curve: FloatArray
    #: Margins of the later rows by so many trees.
    margin: Callable[[int], FloatArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate as it did on the folds."""

    #: Unique among the trials of a training, and the same the next time.
    name: str
    #: What the folds settled: the number of trees, or the strength.
    setting: Mapping[str, float]
    #: Mean log-loss and AUC of each fold's later rows, before calibration.
    losses: tuple[float, ...]
    aucs: tuple[float, ...]
    #: Margins of each fold's later rows; empty for a trial that lost a search.
    margins: tuple[FloatArray, ...]
    #: Fits the candidate with its settled setting on other rows.
    fit: Fit
