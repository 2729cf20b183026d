"""AUC with standard errors by customer, over all rows or within groups of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.audit.evidence import Floats, Ints, Labels, Mask

LEAST: Final = 20
"""Fewest rows of each label for an area to mean anything."""

BINS: Final = 24
_PRIOR: Final = 5.0
"""Rows of the mean rate added to every bin."""


@dataclass(frozen=True, slots=True)
class Area:
    """An AUC: 0.5 is chance. NaN when a label is missing."""

    value: float
    error: float

    def low(self, z: float = 2.58) -> float:
        """Lower end of the interval, of 99 % by default."""
        return self.value - z * self.error

    def high(self, z: float = 2.58) -> float:
        """Upper end of the interval."""
        return self.value + z * self.error


def codes_of(values: npt.NDArray[Any]) -> Ints:
    """0, 1, 2 ... for the distinct values, in ascending order; missing texts come last."""
    if values.dtype == object:
        code, level = pd.factorize(values, sort=True)
        code = np.where(code < 0, len(level), code)
    else:
        code = np.unique(values, return_inverse=True)[1]
    return np.asarray(code, dtype=np.int64)


def distinct_pairs(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """The distinct pairs of two codes, ordered."""
    width = int(right.max(initial=0)) + 1
    pair = np.unique(left * width + right)
    return pair // width, pair % width


def area(score: Floats, label: Labels, customer: Ints) -> Area:
    """AUC of a score; customers are the units of its standard error."""
    return area_within(score, label, np.zeros(len(score), dtype=np.int64), customer)


def area_within(score: Floats, label: Labels, group: Ints, customer: Ints) -> Area:
    """Share of (positive, negative) pairs of the same group that are in order; ties count half.

    The standard error is that of the Mann-Whitney statistic's projection, summed by customer
    (Obuchowski 1997). With groups that are the customers it is twice too wide, never too narrow.
    """
    rank = np.unique(score, return_inverse=True)[1].astype(np.int64)
    key = group * (int(rank.max(initial=0)) + 1) + rank
    cell_key, cell = np.unique(key, return_inverse=True)
    positive = label == 1
    ones = _sums(cell, positive)
    zeros = _sums(cell, ~positive)
    cell_group = np.unique(cell_key // (int(rank.max(initial=0)) + 1), return_inverse=True)[1]
    all_ones, all_zeros = _sums(cell_group, ones), _sums(cell_group, zeros)
    pairs = float(all_ones @ all_zeros)
    if pairs == 0.0:
        return Area(float("nan"), float("nan"))
    zeros_below = _below(zeros, all_zeros, cell_group)
    ones_above = all_ones[cell_group] - _below(ones, all_ones, cell_group)
    value = float(ones @ zeros_below) / pairs
    of_one = zeros_below - value * all_zeros[cell_group]
    of_zero = ones_above - value * all_ones[cell_group]
    influence = np.where(positive, of_one[cell], of_zero[cell]) / pairs
    return Area(value, float(np.sqrt(np.sum(np.bincount(customer, influence) ** 2))))


def _sums(code: Ints, weight: npt.NDArray[Any]) -> Floats:
    return np.bincount(code, weight).astype(np.float64)


def _below(count: Floats, totals: Floats, cell_group: Ints) -> Floats:
    """Per cell, how many of its group lie below it, its own counting half."""
    before = np.cumsum(totals) - totals
    return np.asarray(np.cumsum(count) - count / 2 - before[cell_group], dtype=np.float64)


def halves(customer: Ints) -> Mask:
    """One half of the customers, by a hash of their number."""
    mixed = (customer.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray((mixed >> np.uint64(40)) & np.uint64(1) == 1, dtype=np.bool_)


def learned(values: npt.NDArray[Any], label: Labels, customer: Ints) -> Floats:
    """The label's rate in each value's bin, learned from the other half of the customers.

    Sees what is not monotone, texts, and what is told by a value being missing.
    """
    cell = _cells(values)
    half = halves(customer)
    score = np.empty(len(values))
    for side in (True, False):
        learn = half != side
        base = float(label[learn].mean()) if learn.any() else 0.0
        count = np.bincount(cell[learn], minlength=int(cell.max()) + 1)
        ones = np.bincount(cell[learn], label[learn], minlength=int(cell.max()) + 1)
        rate = (ones + _PRIOR * base) / (count + _PRIOR)
        score[half == side] = rate[cell[half == side]]
    return score


def _cells(values: npt.NDArray[Any]) -> Ints:
    """Bins of equal filling, numbers that are missing apart; texts as they are."""
    if values.dtype == object:
        return codes_of(values)
    missing = np.isnan(values)
    if missing.all():
        return np.zeros(len(values), dtype=np.int64)
    edges = np.unique(np.quantile(values[~missing], np.linspace(0, 1, BINS + 1)[1:-1]))
    cell = np.searchsorted(edges, values, side="left").astype(np.int64)
    cell[missing] = len(edges) + 1
    return cell


def ranks(values: Floats) -> Floats:
    """Mean ranks from 0 to 1; missing values are the lowest."""
    plain = np.where(np.isnan(values), -np.inf, values)
    inverse, count = np.unique(plain, return_inverse=True, return_counts=True)[1:]
    middle = np.cumsum(count) - count / 2
    return np.asarray(middle[inverse] / max(len(values), 1), dtype=np.float64)


def rank_correlation(left: Floats, right: Floats) -> float:
    """Spearman's rho, 0.0 when either is constant."""
    a, b = ranks(left), ranks(right)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0
