"""How the cuts are found, and how far the same rows drawn again would move them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from training.tiers.cuts import cuts_at, ladder_of, response_cuts
from training.tiers.rates import Outcomes, design_effect
from training.tiers.rules import Method, TierRules
from training.tiers.valleys import logit_bins, valleys, why_discrete

Floats = npt.NDArray[np.float64]

BOOTSTRAPS: Final = 20
LEAST_AGREEMENT: Final = 0.9
"""Share of bootstraps that must find as many cuts."""

MOST_SD: Final = 0.03
"""Largest standard deviation of a cut over the bootstraps, in score."""

MOST_SWITCHED: Final = 0.02
"""Largest mean share of rows that change their tier between bootstraps: where all scores are
small, MOST_SD alone would let everything pass."""

_USUAL_SHARES: Final = {2: (0.8, 0.2), 3: (0.6, 0.3, 0.1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRows:
    """Rows a version was judged on. All arrays are equally long."""

    score: Floats
    #: Above 0.
    weight: Floats
    #: Number of the row's customer, from 0.
    customer: npt.NDArray[np.int64]
    #: 0 or 1; None when it was not kept.
    label: Floats | None

    def __len__(self) -> int:
        return len(self.score)

    def outcomes(self, weight: Floats | None = None) -> Outcomes | None:
        """What happened, under other weights if given; None when that was not kept."""
        if self.label is None:
            return None
        return Outcomes(self.label, self.weight if weight is None else weight, self.customer)


@dataclass(frozen=True, slots=True)
class Stability:
    """How the cuts hold when customers are drawn again, BOOTSTRAPS times."""

    #: Share of bootstraps with as many cuts.
    agreement: float
    #: Standard deviation of each cut over those, in score.
    cut_sd: tuple[float, ...]
    #: Mean share of rows that change tier.
    switched: float

    @property
    def holds(self) -> bool:
        """Whether the cuts may be called stable."""
        return (
            self.agreement >= LEAST_AGREEMENT
            and max(self.cut_sd, default=0.0) <= MOST_SD
            and self.switched <= MOST_SWITCHED
        )

    def __str__(self) -> str:
        return (
            f"{self.agreement:.0%} of {BOOTSTRAPS} bootstraps agree on the number of cuts, the "
            f"cuts vary by {max(self.cut_sd, default=0.0):.4f} at most, and {self.switched:.1%} "
            "of the rows change tier"
        )


@dataclass(frozen=True, slots=True)
class Found:
    """Cuts, how they were found and why so."""

    method: str
    reason: str
    cuts: tuple[float, ...]
    stability: Stability


_Cutter = Callable[[Floats], tuple[float, ...]]
"""Cuts of the rows under weights."""


def find_cuts(rows: ScoredRows, rules: TierRules, seed: int) -> Found:
    """Stable valleys, else the declared capacity, else the response, else the usual shares."""
    why_not = "the method is declared"
    if rules.method is Method.AUTO:
        found, why_not = _valleys(rows, seed)
        if found is not None:
            return found
    cutter, method, how = _otherwise(rows, rules)
    cuts = cutter(rows.weight)
    if not cuts:
        how = "nothing tells the scores apart: the observed rate does not rise with them"
    return Found(
        method, f"No valleys: {why_not}. {_sentence(how)}", cuts, stability_of(rows, cutter, seed)
    )


def _valleys(rows: ScoredRows, seed: int) -> tuple[Found | None, str]:
    discrete = why_discrete(ladder_of(rows.score, rows.weight), len(rows))
    if discrete is not None:
        return None, discrete
    bins = logit_bins(rows.score)

    def cutter(weight: Floats) -> tuple[float, ...]:
        return valleys(bins, weight)

    cuts = cutter(rows.weight)
    if not cuts:
        return None, "the scores have one mode"
    stability = stability_of(rows, cutter, seed)
    if not stability.holds:
        return None, f"{len(cuts)} found, and not stable: {stability}"
    reason = (
        f"The scores have {len(cuts) + 1} modes; cut at the valleys between them, which are "
        f"stable: {stability}."
    )
    return Found("valleys", reason, cuts, stability), ""


def _otherwise(rows: ScoredRows, rules: TierRules) -> tuple[_Cutter, str, str]:
    outcomes = rows.outcomes()
    wants_response = rules.method is Method.RESPONSE or rules.capacity is None
    if outcomes is not None and wants_response:
        effect = design_effect(outcomes)

        def by_response(weight: Floats) -> tuple[float, ...]:
            again = rows.outcomes(weight)
            assert again is not None
            return response_cuts(rows.score, again, len(rules.names), effect)

        how = "cut where the observed rate rises significantly from tier to tier"
        return by_response, "response", how
    tiers = len(rules.names)
    shares = rules.capacity or _USUAL_SHARES.get(tiers) or tuple([1.0 / tiers] * tiers)

    def by_capacity(weight: Floats) -> tuple[float, ...]:
        return cuts_at(ladder_of(rows.score, weight), np.cumsum(shares[:-1]).tolist())

    told = ", ".join(f"{n} {s:.0%}" for n, s in zip(rules.names, shares, strict=True))
    source = "declared" if rules.capacity else "usual, as no outcomes are known,"
    return by_capacity, "capacity", f"cut at the {source} shares: {told}"


def stability_of(rows: ScoredRows, cutter: _Cutter, seed: int) -> Stability:
    """How the cuts hold when customers, with all their rows, are drawn again."""
    random = np.random.default_rng(seed)
    customers = int(rows.customer.max()) + 1
    ladder = ladder_of(rows.score, rows.weight)
    cuts = np.array(cutter(rows.weight))
    alike = []
    for _ in range(BOOTSTRAPS):
        drawn = np.bincount(random.integers(0, customers, customers), minlength=customers)
        again = cutter(rows.weight * drawn[rows.customer])
        if len(again) == len(cuts):
            alike.append(again)
    if not alike or not len(cuts):
        return Stability(len(alike) / BOOTSTRAPS, (), 0.0)
    places = np.array(alike)
    below = np.concatenate(([0.0], ladder.below))
    moved = np.abs(
        below[np.searchsorted(ladder.values, places)] - below[np.searchsorted(ladder.values, cuts)]
    )
    sd = tuple(float(value) for value in places.std(axis=0))
    return Stability(len(alike) / BOOTSTRAPS, sd, float(moved.sum(axis=1).mean()))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
