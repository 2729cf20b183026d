"""Where scores may be cut: never inside a tied value, at given shares or where the rate changes.

Rows carry a weight, and scores are held as a ladder of their distinct values, so a cut always
falls between two values that occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from serving.tiers import tier_numbers
from training.tiers.rates import Outcomes

Floats = npt.NDArray[np.float64]

LEAST_MASS: Final = 0.02
"""A tier holds at least this share of the rows."""

FIRST_BINS: Final = 20
"""Equally filled bins from which response-monotone tiers are merged."""

SIGNIFICANT: Final = 3.0
"""Standard errors by which the rates of neighbours must differ. Above the usual 2, because the
neighbours that are left were selected from twenty."""

_EDGE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Ladder:
    """The distinct scores in rising order, and the share of rows at or below each."""

    values: Floats
    below: Floats

    @property
    def heaviest(self) -> float:
        """The share of the most frequent value."""
        return float(np.diff(self.below, prepend=0.0).max())


def ladder_of(score: Floats, weight: Floats) -> Ladder:
    """The ladder of weighted scores."""
    values, place = np.unique(score, return_inverse=True)
    mass = np.bincount(place, weights=weight, minlength=len(values))
    return Ladder(values, np.cumsum(mass) / mass.sum())


def cuts_at(ladder: Ladder, shares_below: Sequence[float]) -> tuple[float, ...]:
    """Cuts below which the given shares of rows lie, as nearly as ties allow; twins left out.

    >>> ladder = ladder_of(np.array([0.1, 0.1, 0.1, 0.5]), np.ones(4))
    >>> cuts_at(ladder, [0.6])
    (0.3,)
    """
    if len(ladder.values) < 2:
        return ()
    inner = ladder.below[:-1]
    places = sorted({int(np.abs(inner - share).argmin()) for share in shares_below})
    middles = (ladder.values[:-1] + ladder.values[1:]) / 2
    cuts = (float(np.clip(middles[place], _EDGE, 1.0 - _EDGE)) for place in places)
    return tuple(sorted(set(cuts)))


def response_cuts(
    score: Floats, outcomes: Outcomes, most_tiers: int, design_effect: float
) -> tuple[float, ...]:
    """Cuts between tiers whose observed rate rises significantly from each to the next.

    Of all ways to put FIRST_BINS equally filled bins into `most_tiers` parts, the one under which
    the labels are likeliest; with one part fewer when a part is too small or two neighbours do
    not rise by SIGNIFICANT standard errors, and so on. Empty when nothing is left to tell apart.
    `design_effect` is that of all rows (`tiers_rates.design_effect`): how much less one
    customer's rows tell than independent ones.
    """
    ladder = ladder_of(score, outcomes.weight)
    cuts = cuts_at(ladder, (np.arange(1, FIRST_BINS) / FIRST_BINS).tolist())
    sums = _sums(tier_numbers(cuts, score), len(cuts) + 1, outcomes)
    for tiers in range(min(most_tiers, len(cuts) + 1), 1, -1):
        starts = _likeliest(sums, tiers)
        if _rises(np.add.reduceat(sums, starts, axis=1), design_effect):
            return tuple(cuts[start - 1] for start in starts[1:])
    return ()


def _rises(sums: Floats, design_effect: float) -> bool:
    """Whether every part is large enough and its rate significantly above the one before."""
    mass, squares, positive = sums
    if (mass < LEAST_MASS * mass.sum()).any():
        return False
    n = mass**2 / squares / design_effect
    rate = (positive / mass * n + 0.5) / (n + 1.0)
    error = np.sqrt(rate * (1.0 - rate) / np.maximum(n, 1.0))
    rise = np.diff(rate) / np.hypot(error[1:], error[:-1])
    return bool((rise >= SIGNIFICANT).all())


def _likeliest(sums: Floats, parts: int) -> list[int]:
    """First bin of each of so many runs of bins under which the labels are likeliest.

    Exact, by dynamic programming over the end of the last run (Fisher 1958).
    """
    bins = sums.shape[1]
    upto = np.concatenate((np.zeros((3, 1)), np.cumsum(sums, axis=1)), axis=1)
    # gain[i, j]: log-likelihood of bins i to j - 1 under their common rate.
    mass = upto[0][None, :] - upto[0][:, None]
    positive = upto[2][None, :] - upto[2][:, None]
    negative = np.maximum(mass - positive, 0.0)
    gain = xlogy(positive, positive) + xlogy(negative, negative) - xlogy(mass, mass)
    gain[np.tril_indices(bins + 1)] = -np.inf
    best, began = gain[0], []
    for _ in range(parts - 1):
        whole = best[:, None] + gain
        began.append(whole.argmax(axis=0))
        best = whole.max(axis=0)
    starts, end = [], bins
    for place in reversed(began):
        end = int(place[end])
        starts.append(end)
    return [0, *reversed(starts)]


def _sums(tier: npt.NDArray[np.int64], tiers: int, outcomes: Outcomes) -> Floats:
    """Weight, squared weight and positive weight per tier."""
    weight = outcomes.weight
    parts = (weight, weight**2, weight * outcomes.label)
    return np.array([np.bincount(tier, weights=part, minlength=tiers) for part in parts])
