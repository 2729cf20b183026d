"""A tier proposal as a value, and its two written forms: whole for a file, short for a tag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from training.tiers.method import Stability

OWN_SCORES: Final = "each model's own scores"
NEW_SCORES: Final = "the new model's scores under both policies"


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier of a proposal, on the rows of the version's test period."""

    name: str
    #: Scores from here, to below `high`.
    low: float
    high: float
    rows: int
    #: Share of the rows' weight.
    share: float
    #: Mean score.
    expected: float
    #: Share of positives and its 95 % interval; None when outcomes were not kept.
    observed: float | None
    observed_low: float | None
    observed_high: float | None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Rows by equal bins of the log-odds of their score."""

    #: Scores between the bins, one more than shares.
    edges: tuple[float, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Moves:
    """Rows by tier of the policy in force and tier of the proposal."""

    from_version: str
    from_names: tuple[str, ...]
    to_names: tuple[str, ...]
    #: counts[i][j]: rows of from_names[i] that would be in to_names[j].
    counts: tuple[tuple[int, ...], ...]
    #: Whose scores the old tiers are taken from: OWN_SCORES or NEW_SCORES.
    basis: str

    @property
    def moved(self) -> int:
        """Rows whose tier changes its name."""
        pairs = zip(self.from_names, self.counts, strict=True)
        return sum(
            count
            for before, row in pairs
            for after, count in zip(self.to_names, row, strict=True)
            if before != after
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TierProposal:
    """What is proposed, why, and what it would mean."""

    target: str
    model_version: str
    #: valleys, capacity, response, or manual for an owner's own cuts.
    method: str
    reason: str
    names: tuple[str, ...]
    cuts: tuple[float, ...]
    tiers: tuple[Tier, ...]
    stability: Stability
    histogram: Histogram
    moves: Moves | None
    #: What an owner should know before approving.
    warnings: tuple[str, ...]
    rows: int
    seed: int

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each tier."""
        return tuple(tier.share for tier in self.tiers)

    def as_dict(self) -> dict[str, Any]:
        """The proposal for a JSON file."""
        return asdict(self)

    def policy(self) -> dict[str, Any]:
        """What the tag of the version holds: enough to serve and to remember, not to draw."""
        return {
            "names": list(self.names),
            "cuts": list(self.cuts),
            "shares": [round(share, 6) for share in self.shares],
            "method": self.method,
            "reason": self.reason[:1000],
            "expected": [round(tier.expected, 6) for tier in self.tiers],
            "observed": [_rounded(tier.observed) for tier in self.tiers],
            "observed_low": [_rounded(tier.observed_low) for tier in self.tiers],
            "observed_high": [_rounded(tier.observed_high) for tier in self.tiers],
            "cut_sd": [round(sd, 6) for sd in self.stability.cut_sd],
            "agreement": self.stability.agreement,
            "rows": self.rows,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def proposal_from(document: Mapping[str, Any]) -> TierProposal:
    """The proposal that `as_dict` wrote, after JSON.

    Raises:
        KeyError, TypeError: it is something else.
    """
    moves = document["moves"]
    raw = dict(document)
    raw["names"], raw["cuts"] = tuple(raw["names"]), tuple(raw["cuts"])
    raw["warnings"] = tuple(raw["warnings"])
    raw["tiers"] = tuple(Tier(**tier) for tier in raw["tiers"])
    held = document["stability"]
    raw["stability"] = Stability(held["agreement"], tuple(held["cut_sd"]), held["switched"])
    shape = document["histogram"]
    raw["histogram"] = Histogram(tuple(shape["edges"]), tuple(shape["shares"]))
    if moves is not None:
        counts = tuple(tuple(row) for row in moves["counts"])
        names = {key: tuple(moves[key]) for key in ("from_names", "to_names")}
        raw["moves"] = Moves(**{**moves, **names, "counts": counts})
    return TierProposal(**raw)
