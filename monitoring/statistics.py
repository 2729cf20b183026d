"""How far a column moved from its launch profile, and how far it may move by chance alone.

Effect sizes only. A p-value answers another question: over forty columns without any change some
p-value is below 0.05 in most runs, and over a million rows a harmless shift has a tiny one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from serving.bins import ATOM_SHARE, NumberBins, as_numbers, qpsi
from serving.profile import ColumnProfile, Histogram, null_share, profile

FALSE_ALARM: Final = 0.001
"""Probability that any one of a run's checks passes its floor when nothing changed."""

FREQUENT: Final = 5
"""How many of a window's most frequent values are looked at."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Independent observations on both sides, and how many checks the run makes in all."""

    launch: int
    current: int
    checks: int

    @property
    def spread(self) -> float:
        """Variance of a difference of two means of unit variance."""
        return 1 / max(self.launch, 1) + 1 / max(self.current, 1)


@dataclass(frozen=True, slots=True)
class Shift:
    """A change of one number, and the least change that chance does not explain."""

    before: float
    now: float
    floor: float

    @property
    def delta(self) -> float:
        """Now less before."""
        return self.now - self.before

    def exceeds(self, threshold: float) -> bool:
        """Whether the change is at least `threshold` and more than chance explains."""
        return abs(self.delta) >= max(threshold, self.floor)


@dataclass(frozen=True, slots=True)
class Movement:
    """Everything measured on one column of one window."""

    #: Rows of the window, one per customer.
    rows: int
    qpsi: float
    qpsi_floor: float
    null: Shift
    #: Share of one value: zero, the launch's most frequent one, or one frequent in the window,
    #: whichever moved most. None for texts.
    value: Shift | None
    #: The value that `value` is about.
    valued: float
    #: Share of rows below the launch minimum or above the launch maximum.
    outside: Shift
    #: The cell that contributes most to qPSI: what it holds, its share then and now.
    cell: tuple[str, float, float]


def qpsi_floor(cells: int, sizes: Sizes) -> float:
    """qPSI that pure sampling noise passes with probability FALSE_ALARM over all checks.

    Under no change, qPSI is about chi-squared with `cells - 1` degrees of freedom times
    (1/N + 1/M), N and M being independent observations: distinct customers, not rows.

    >>> round(qpsi_floor(23, Sizes(launch=10_000, current=1_000, checks=41)), 3)
    0.066
    """
    return _chi2(FALSE_ALARM / sizes.checks, max(cells - 1, 1)) * sizes.spread


def share_floor(before: float, now: float, sizes: Sizes) -> float:
    """Difference of two shares that noise passes with probability FALSE_ALARM over all checks."""
    pooled = (before * sizes.launch + now * sizes.current) / max(sizes.launch + sizes.current, 1)
    # Half a row on each side keeps a share of exactly 0 or 1 from having no noise at all.
    half = 0.5 * sizes.spread
    return _z(sizes.checks) * math.sqrt(pooled * (1 - pooled) * sizes.spread) + half


def mean_shift(before: float, current: npt.NDArray[Any], deviation: float, sizes: Sizes) -> Shift:
    """Shift of a mean whose launch standard deviation is `deviation`."""
    finite = current[np.isfinite(current)]
    if not len(finite):
        return Shift(before, math.nan, math.inf)
    floor = _z(sizes.checks) * max(deviation, float(finite.std())) * math.sqrt(sizes.spread)
    return Shift(before, float(finite.mean()), floor)


def measure(
    column: ColumnProfile, counted: Histogram, values: npt.NDArray[Any], sizes: Sizes
) -> Movement:
    """Compare a window's values, already counted, with the launch profile of their column."""
    launch = column.launch
    before, now = null_share(column, launch), null_share(column, counted)
    value, valued = _value_shift(column, values, sizes)
    outside = (counted.below + counted.above) / max(counted.rows, 1)
    cells = int(((launch.counts + counted.counts) > 0).sum())
    return Movement(
        rows=counted.rows,
        qpsi=qpsi(launch.counts, counted.counts),
        qpsi_floor=qpsi_floor(cells, sizes),
        null=Shift(before, now, share_floor(before, now, sizes)),
        value=value,
        valued=valued,
        # Some rows of a small window always pass the launch extremes: five are not news.
        outside=Shift(0.0, outside, share_floor(0.0, outside, sizes) + 5 / max(sizes.current, 1)),
        cell=_most_moved(column, counted),
    )


def quantile_qpsi(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """qPSI of two samples, with bins made from the reference: what the Evidently report shows."""
    launch = profile(reference)
    return qpsi(launch.launch.counts, launch.bins.count(current))


def _value_shift(
    column: ColumnProfile, values: npt.NDArray[Any], sizes: Sizes
) -> tuple[Shift | None, float]:
    bins, launch = column.bins, column.launch
    if not isinstance(bins, NumberBins):
        return None, math.nan
    numbers = as_numbers(values)
    distinct, counts = np.unique(numbers[np.isfinite(numbers)], return_counts=True)
    atoms = launch.counts[len(bins.edges) + 1 : -2]
    candidates = {0.0}
    if len(atoms):
        candidates.add(float(bins.atoms[atoms.argmax()]))
    # The most frequent value is often zero; a clipped or defaulted one comes right after it.
    candidates.update(distinct[np.argsort(counts)[-FREQUENT:]].tolist())
    shifts = {}
    for value in sorted(candidates):
        now = float(counts[distinct == value].sum() / max(len(numbers), 1))
        before = _launch_share(bins, atoms, launch, value)
        # A value without a cell of its own had less than ATOM_SHARE; how much less is not known.
        if before is None:
            before = min(now, ATOM_SHARE)
        shifts[value] = Shift(before, now, share_floor(before, now, sizes))
    about = max(shifts, key=lambda value: (shifts[value].exceeds(0.0), abs(shifts[value].delta)))
    return shifts[about], about


def _launch_share(
    bins: NumberBins, atoms: npt.NDArray[np.int64], launch: Histogram, value: float
) -> float | None:
    if value == 0.0:
        return launch.zeros / max(launch.rows, 1)
    held = atoms[bins.atoms == value]
    return float(held[0] / max(launch.rows, 1)) if len(held) else None


def _most_moved(column: ColumnProfile, counted: Histogram) -> tuple[str, float, float]:
    before = (column.launch.counts + 0.5) / max(column.launch.rows, 1)
    now = (counted.counts + 0.5) / max(counted.rows, 1)
    cell = int(((now - before) * np.log(now / before)).argmax())
    shares = (
        float(column.launch.counts[cell] / max(column.launch.rows, 1)),
        float(counted.counts[cell] / max(counted.rows, 1)),
    )
    return column.bins.labels()[cell], *shares


@lru_cache(maxsize=1024)
def _chi2(tail: float, freedom: int) -> float:
    return float(stats.chi2.isf(tail, freedom))


@lru_cache(maxsize=64)
def _z(checks: int) -> float:
    return float(stats.norm.isf(FALSE_ALARM / 2 / checks))
