"""A small model for the audit alone: quick and deterministic, to see what rows give away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.audit.evidence import Floats, Labels, Mask
from training.dataset import Columns

MOST_ROWS: Final = 15_000
"""Rows the model is fitted on; more change nothing the audit asks."""

_LEVELS: Final = 8
_PENALTY: Final = 33.0
_STEPS: Final = 25
_LONGEST: Final = 20.0
"""Most a step may change any row's log-odds."""

_SETTLED: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Shape:
    """How columns become numbers of like size, settled on the rows that are fitted on."""

    #: Numeric feature -> (mean, scale, whether it is missing at times).
    numbers: Mapping[str, tuple[float, float, bool]]
    levels: Mapping[str, tuple[str, ...]]

    def design(self, columns: Columns) -> Floats:
        """The columns as one matrix; missing numbers are at the mean."""
        parts = []
        for name, (mean, scale, is_missing) in self.numbers.items():
            squashed = (_squash(columns[name]) - mean) / scale
            parts.append(np.nan_to_num(squashed, nan=0.0))
            if is_missing:
                parts.append(np.isnan(columns[name]).astype(np.float64))
        for name, levels in self.levels.items():
            texts = _texts(columns[name])
            parts.extend((texts == level).astype(np.float64) for level in levels)
        rows = len(next(iter(columns.values())))
        return np.column_stack(parts) if parts else np.zeros((rows, 1))


def shape_of(columns: Columns, fit: Mask) -> Shape:
    """The shape of columns by the rows that will be fitted on."""
    numbers, levels = {}, {}
    for name, values in columns.items():
        held = values[fit]
        if held.dtype == object:
            level, count = np.unique(_texts(held), return_counts=True)
            frequent = np.argsort(-count, kind="stable")[:_LEVELS]
            levels[name] = tuple(str(text) for text in level[frequent])
            continue
        squashed = _squash(held)
        present = squashed[~np.isnan(squashed)]
        if not len(present):
            continue
        spread = float(present.std())
        numbers[name] = (
            float(present.mean()),
            spread if spread > 1e-9 else 1.0,
            len(present) < len(held),
        )
    return Shape(numbers, levels)


def fit_scores(design: Floats, label: Labels, fit: Mask, seed: int) -> Floats:
    """Log-odds of every row by a penalised logistic regression on (a sample of) the rows `fit`."""
    rows = np.flatnonzero(fit)
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))
    if len(np.unique(label[rows])) < 2:
        return np.zeros(len(label))
    weight = _newton(design[rows], label[rows].astype(np.float64))
    return np.asarray(design @ weight[1:] + weight[0], dtype=np.float64)


def _newton(design: Floats, label: Floats) -> Floats:
    """Intercept and weights of least penalised loss; the intercept is not penalised."""
    matrix = np.column_stack([np.ones(len(design)), design])
    penalty = np.full(matrix.shape[1], _PENALTY)
    penalty[0] = 1e-6
    weight = np.zeros(matrix.shape[1])
    margin = np.zeros(len(matrix))
    for _ in range(_STEPS):
        rate = 1.0 / (1.0 + np.exp(-np.clip(margin, -30, 30)))
        gradient = matrix.T @ (rate - label) + penalty * weight
        curved = matrix.T @ (matrix * (rate * (1 - rate))[:, np.newaxis]) + np.diag(penalty)
        step = np.linalg.solve(curved, gradient)
        # A longer step leaves the range in which the curvature holds.
        step *= min(1.0, _LONGEST / max(float(np.abs(matrix @ step).max()), 1e-12))
        weight -= step
        margin = matrix @ weight
        if float(np.abs(step).max()) < _SETTLED:
            break
    return weight


def _squash(values: npt.NDArray[Any]) -> Floats:
    squashed = np.sign(values) * np.log1p(np.abs(values))
    return np.asarray(np.where(np.isinf(squashed), np.nan, squashed), dtype=np.float64)


def _texts(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.array(["" if value is None else value for value in values], dtype=str)
