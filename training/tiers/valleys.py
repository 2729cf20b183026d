"""Valleys of a score histogram: a kernel density on the log-odds, and the gaps between its modes.

The rule and its limits were measured on unimodal, skewed, rounded, atomic, bi- and trimodal
scores at 10^3 and 10^5 rows (docs/tiers.md): a valley counts when it is at least LEAST_DEPTH
below the lower of the two modes beside it and each side keeps LEAST_MASS of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from training.tiers.cuts import LEAST_MASS, Ladder

Floats = npt.NDArray[np.float64]

LEAST_DEPTH: Final = 0.15
LEAST_VALUES: Final = 256
LEAST_ROWS: Final = 500
HEAVIEST_ATOM: Final = 0.02
"""Scores with fewer values, or a heavier one, are steps: the gaps between steps are no valleys."""

_GRID: Final = 512
_FURTHEST: Final = 14.0


def why_discrete(ladder: Ladder, rows: int) -> str | None:
    """Why the scores are too discrete, or too few, for a density; None: they are not."""
    values = len(ladder.values)
    if rows < LEAST_ROWS:
        return f"{rows:,} rows are too few for a density ({LEAST_ROWS} are needed)"
    if values < LEAST_VALUES:
        return f"the scores have only {values} different values ({LEAST_VALUES} are needed)"
    if ladder.heaviest > HEAVIEST_ATOM:
        return (
            f"one score holds {ladder.heaviest:.1%} of the rows ({HEAVIEST_ATOM:.0%} at most), as "
            "calibration by steps makes them"
        )
    return None


@dataclass(frozen=True, slots=True)
class LogitBins:
    """Rows by equal bins of their score's log-odds."""

    #: Middles of the bins.
    at: Floats
    #: Bin of each row.
    place: npt.NDArray[np.int64]


def logit_bins(score: Floats) -> LogitBins:
    """Bins of scores, ties spread evenly over the gap to their neighbours.

    Rounding puts many rows on one value, which a narrow kernel takes for a mode.
    """
    logit = to_logit(_spread_ties(score))
    low, high = float(logit.min()), float(logit.max())
    # A quarter of the range more on each side, so that the density can fall off at its ends.
    margin = max((high - low) / 4, 1e-6)
    low, width = low - margin, (high - low + 2 * margin) / _GRID
    place = np.minimum(((logit - low) / width).astype(np.int64), _GRID - 1)
    at = np.asarray(low + width * (np.arange(_GRID) + 0.5), dtype=np.float64)
    return LogitBins(at, place)


def to_logit(score: Floats | float) -> Floats:
    """Log-odds, kept within what can be told from 0 and 1."""
    edge = 1.0 / (1.0 + np.exp(_FURTHEST))
    clipped = np.clip(score, edge, 1.0 - edge)
    return np.asarray(np.log(clipped / (1.0 - clipped)), dtype=np.float64)


def from_logit(logit: float) -> float:
    """The score of log-odds."""
    return float(1.0 / (1.0 + np.exp(-logit)))


def valleys(bins: LogitBins, weight: Floats) -> tuple[float, ...]:
    """Scores of the valleys of the weighted rows' density, rising."""
    sums = np.bincount(bins.place, weights=weight, minlength=_GRID)
    mass = np.asarray(sums, dtype=np.float64)
    density = gaussian_filter1d(mass, _bandwidth(bins, mass, weight), mode="constant")
    inner = np.flatnonzero((density[1:-1] > density[:-2]) & (density[1:-1] >= density[2:])) + 1
    peaks = inner.tolist()
    lows = [a + int(density[a:b].argmin()) for a, b in pairwise(peaks)]
    _drop_shallow(density, peaks, lows)
    _drop_small(np.cumsum(mass) / mass.sum(), density, lows)
    return tuple(from_logit(float(bins.at[low])) for low in lows)


def _bandwidth(bins: LogitBins, mass: Floats, weight: Floats) -> float:
    """Silverman's rule in bins: 0.9 min(sd, IQR / 1.34) n^(-1/5), n by Kish."""
    share = np.cumsum(mass) / mass.sum()
    mean = float(np.average(bins.at, weights=mass))
    sd = float(np.sqrt(np.average((bins.at - mean) ** 2, weights=mass)))
    quartiles = bins.at[np.searchsorted(share, (0.25, 0.75))]
    spread = min(sd, float(quartiles[1] - quartiles[0]) / 1.34) or sd
    n = float(weight.sum() ** 2 / (weight**2).sum())
    width = float(bins.at[1] - bins.at[0])
    return max(float(0.9 * spread / n**0.2 / width), 1.0)


def _drop_shallow(density: Floats, peaks: list[int], lows: list[int]) -> None:
    """Take out, one by one, the shallowest valley and the lower mode beside it."""
    while lows:
        depth = [
            1.0 - density[low] / min(density[peaks[i]], density[peaks[i + 1]])
            for i, low in enumerate(lows)
        ]
        shallowest = int(np.argmin(depth))
        if depth[shallowest] >= LEAST_DEPTH:
            return
        lower = shallowest + (density[peaks[shallowest + 1]] <= density[peaks[shallowest]])
        del lows[shallowest], peaks[lower]


def _drop_small(below: Floats, density: Floats, lows: list[int]) -> None:
    """Take out the higher valley beside the smallest part while that is too small."""
    while lows:
        shares = np.diff(below[lows], prepend=0.0, append=1.0)
        smallest = int(shares.argmin())
        if shares[smallest] >= LEAST_MASS:
            return
        beside = [i for i in (smallest - 1, smallest) if 0 <= i < len(lows)]
        lows.remove(max((lows[i] for i in beside), key=lambda low: density[low]))


def _spread_ties(score: Floats) -> Floats:
    values, place, count = np.unique(score, return_inverse=True, return_counts=True)
    if len(values) < 2 or count.max() == 1:
        return score
    middles = (values[:-1] + values[1:]) / 2
    low = np.concatenate(([values[0]], middles))
    high = np.concatenate((middles, [values[-1]]))
    order = np.argsort(place, kind="stable")
    first = np.concatenate(([0], np.cumsum(count)[:-1]))
    rank = np.empty(len(score))
    rank[order] = np.arange(len(score)) - first[place[order]]
    spread = low[place] + (high - low)[place] * (rank + 0.5) / count[place]
    return np.asarray(np.where(count[place] > 1, spread, score), dtype=np.float64)
