"""Observed rates per tier, with intervals that know one customer may hold many rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Z95: Final = 1.959963984540054

_LEAST: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What happened in each row."""

    #: 0 or 1.
    label: Floats
    #: Above 0.
    weight: Floats
    #: Number of the row's customer, from 0.
    customer: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rates:
    """Per tier, from the lowest."""

    share: Floats
    rate: Floats
    #: Standard error of the rate.
    error: Floats
    #: Independent rows that would know the rate as well.
    effective: Floats


def rates(tier: npt.NDArray[np.int64], tiers: int, outcomes: Outcomes) -> Rates:
    """Weighted rate of each tier.

    The variance is that of a ratio over customers (linearised; Cochran, Sampling Techniques 6.3):
    sum over customers of (sum of w (y - rate))^2, over (sum of w)^2. It is kept at least what so
    many independent rows of these weights would have (Kish), with one half row more on each side,
    so that a tier without positives is not known exactly.
    """
    weight, label = outcomes.weight, outcomes.label
    mass = np.bincount(tier, weights=weight, minlength=tiers)
    safe = np.maximum(mass, _LEAST)
    rate = np.bincount(tier, weights=weight * label, minlength=tiers) / safe
    kish = safe**2 / np.maximum(np.bincount(tier, weights=weight**2, minlength=tiers), _LEAST)
    smooth = (rate * kish + 0.5) / (kish + 1.0)
    least = smooth * (1.0 - smooth) / np.maximum(kish, 1.0)
    variance = np.maximum(_clustered(tier, tiers, rate, outcomes) / safe**2, least)
    effective = np.clip(smooth * (1.0 - smooth) / variance, 0.0, kish)
    return Rates(mass / mass.sum(), rate, np.sqrt(variance), effective)


def design_effect(outcomes: Outcomes) -> float:
    """Variance of the rate of all rows over that of as many independent rows, 1 at least."""
    found = rates(np.zeros(len(outcomes.label), np.int64), 1, outcomes)
    kish = outcomes.weight.sum() ** 2 / (outcomes.weight**2).sum()
    return max(1.0, float(kish / max(found.effective[0], 1.0)))


def _clustered(tier: npt.NDArray[np.int64], tiers: int, rate: Floats, outcomes: Outcomes) -> Floats:
    """Per tier, the sum over customers of their squared weighted residuals."""
    residual = outcomes.weight * (outcomes.label - rate[tier])
    cell = outcomes.customer * tiers + tier
    cells, place = np.unique(cell, return_inverse=True)
    squares = np.bincount(place, weights=residual) ** 2
    sums = np.bincount(cells % tiers, weights=squares, minlength=tiers)
    return np.asarray(sums, dtype=np.float64)


def wilson(rate: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share seen in n (effective) rows; Wilson 1927.

    >>> low, high = wilson(0.0, 100)
    >>> round(low, 4), round(high, 4)
    (0.0, 0.037)
    """
    if n <= 0:
        return 0.0, 1.0
    spread = z * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    middle, whole = rate + z * z / (2 * n), 1 + z * z / n
    return max(0.0, float((middle - spread) / whole)), min(1.0, float((middle + spread) / whole))
