"""A tier proposal: cuts of a version's scores with what an owner needs to judge them.

Pure and deterministic by its seed; `training/tiers/registry.py` stores it and what is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.tiers import TierPolicy, checked, tier_numbers
from training.tiers.method import Found, ScoredRows, find_cuts, stability_of
from training.tiers.proposal import NEW_SCORES, OWN_SCORES, Histogram, Moves, Tier, TierProposal
from training.tiers.rates import Outcomes, rates, wilson
from training.tiers.rules import TierRules
from training.tiers.valleys import from_logit, to_logit

Floats = npt.NDArray[np.float64]

HISTOGRAM_BINS: Final = 40

SMALL_SHARE: Final = 0.005
"""A tier with fewer of the rows is worth a warning."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The approved policy in force, and what its own model gave the same rows if known."""

    policy: TierPolicy
    scores: Floats | None = None


def propose(
    target: str,
    model_version: str,
    rows: ScoredRows,
    rules: TierRules,
    *,
    in_force: InForce | None = None,
    seed: int = 0,
) -> TierProposal:
    """The proposal for a version's scored rows."""
    found = find_cuts(rows, rules, seed)
    names = names_for(len(found.cuts) + 1, rules.names)
    return _proposal(target, model_version, rows, found, names, in_force=in_force, seed=seed)


def propose_own(
    target: str,
    model_version: str,
    rows: ScoredRows,
    names: Sequence[str],
    cuts: Sequence[float],
    *,
    by: str,
    in_force: InForce | None = None,
    seed: int = 0,
) -> TierProposal:
    """A proposal with an owner's own names and cuts.

    Raises:
        BadPolicy: they make no policy.
    """
    own_names, own_cuts = checked(list(names), list(cuts))
    found = Found(
        "manual",
        f"Names or cuts were set by {by}.",
        own_cuts,
        stability_of(rows, lambda weight: own_cuts, seed),
    )
    return _proposal(target, model_version, rows, found, own_names, in_force=in_force, seed=seed)


def _proposal(
    target: str,
    model_version: str,
    rows: ScoredRows,
    found: Found,
    names: tuple[str, ...],
    *,
    in_force: InForce | None,
    seed: int,
) -> TierProposal:
    tiers = _tiers(rows, found.cuts, names)
    return TierProposal(
        target=target,
        model_version=model_version,
        method=found.method,
        reason=found.reason,
        names=names,
        cuts=found.cuts,
        tiers=tiers,
        stability=found.stability,
        histogram=_histogram(rows),
        moves=None if in_force is None else _moves(rows, found.cuts, names, in_force),
        warnings=_warnings(tiers),
        rows=len(rows),
        seed=seed,
    )


def names_for(tiers: int, declared: Sequence[str]) -> tuple[str, ...]:
    """Names of that many tiers: the declared ones, those at even steps of them, or numbers.

    >>> names_for(2, ("low", "medium", "high")), names_for(1, ("low", "high"))
    (('low', 'high'), ('all',))
    >>> names_for(3, ("low", "high"))
    ('tier 1', 'tier 2', 'tier 3')
    """
    if tiers == 1:
        return ("all",)
    if tiers > len(declared):
        return tuple(f"tier {number}" for number in range(1, tiers + 1))
    steps = np.linspace(0, len(declared) - 1, tiers).round().astype(int).tolist()
    return tuple(declared[step] for step in steps)


def _tiers(rows: ScoredRows, cuts: tuple[float, ...], names: tuple[str, ...]) -> tuple[Tier, ...]:
    place = tier_numbers(cuts, rows.score)
    # Without outcomes the same sums are taken of zeros, and not shown.
    known = rows.outcomes() or Outcomes(np.zeros(len(rows)), rows.weight, rows.customer)
    found = rates(place, len(names), known)
    mass = np.bincount(place, weights=rows.weight, minlength=len(names))
    scores = np.bincount(place, weights=rows.weight * rows.score, minlength=len(names))
    counts = np.bincount(place, minlength=len(names))
    bounds = (0.0, *cuts, 1.0)
    tiers = []
    for i, name in enumerate(names):
        rate = float(found.rate[i])
        low, high = wilson(rate, float(found.effective[i]))
        observed = (rate, low, high) if rows.label is not None and counts[i] else (None,) * 3
        expected = float(scores[i] / mass[i]) if mass[i] else 0.0
        tiers.append(
            Tier(
                name,
                bounds[i],
                bounds[i + 1],
                int(counts[i]),
                float(found.share[i]),
                expected,
                *observed,
            )
        )
    return tuple(tiers)


def _histogram(rows: ScoredRows) -> Histogram:
    logit = to_logit(rows.score)
    counts, edges = np.histogram(logit, bins=HISTOGRAM_BINS, weights=rows.weight)
    shares = counts / counts.sum()
    return Histogram(
        tuple(from_logit(float(edge)) for edge in edges), tuple(float(s) for s in shares)
    )


def _moves(
    rows: ScoredRows, cuts: tuple[float, ...], names: tuple[str, ...], in_force: InForce
) -> Moves:
    policy = in_force.policy
    old = rows.score if in_force.scores is None else in_force.scores
    before, after = tier_numbers(policy.cuts, old), tier_numbers(cuts, rows.score)
    width = len(names)
    counts = np.bincount(before * width + after, minlength=len(policy.names) * width)
    table = counts.reshape(len(policy.names), width)
    return Moves(
        policy.model_version,
        policy.names,
        names,
        tuple(tuple(int(count) for count in row) for row in table),
        NEW_SCORES if in_force.scores is None else OWN_SCORES,
    )


def _warnings(tiers: tuple[Tier, ...]) -> tuple[str, ...]:
    found = []
    for below, above in pairwise(tiers):
        if below.observed_high is None or above.observed_low is None:
            continue
        if above.observed_low <= below.observed_high:
            found.append(
                f"The observed rates of {below.name} and {above.name} do not differ beyond their "
                "intervals."
            )
    for tier in tiers:
        if tier.share < SMALL_SHARE:
            found.append(f"{tier.name} holds only {tier.share:.2%} of the rows.")
        if tier.observed_low is None or tier.observed_high is None:
            continue
        if not tier.observed_low <= tier.expected <= tier.observed_high:
            found.append(
                f"{tier.name}: the mean score {tier.expected:.4f} lies outside the interval of "
                f"the observed rate, {tier.observed_low:.4f} to {tier.observed_high:.4f}."
            )
    return tuple(found)
