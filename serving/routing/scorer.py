"""The router's way to scores: a port, so that routing knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.asks import Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The score of one customer."""

    score: float
    tier: str | None
    model_version: str
    #: Model version whose approved tiers were used.
    tier_policy: str | None = None
    #: Cause of a degraded score (`serving.schemas.Cause`), None for a full one.
    degraded: str | None = None
    #: Newest event counted, ISO 8601.
    as_of: str | None = None


Verdicts = Sequence[Verdict | None]
"""By customer; None: the model fails on this one."""


class Scorer(Protocol):
    """Scores customers. Called by one thread."""

    def score(self, asks: Sequence[Ask]) -> Sequence[Verdicts | None]:
        """Verdicts of each ask, in the order of its customers; None: its target has no model.

        Raises:
            StoreUnavailable: the store of features does not answer; try again later.
        """

    def close(self) -> None:
        """Let go of what is held open."""
