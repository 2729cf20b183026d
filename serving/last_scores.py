"""What this process answered last, for when the feature store is away."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class LastScore(NamedTuple):
    """A score that was answered before."""

    score: float
    #: Newest event it counted, epoch seconds; NaN when there was none.
    as_of: float
    scored_at: datetime
    model_version: str
    #: Whether the version was the challenger.
    canary: bool = False


@dataclass
class LastScores:
    """The newest scores of this process by target and customer, the oldest forgotten first."""

    #: Scores kept, of all targets together.
    capacity: int
    _held: OrderedDict[tuple[str, str], LastScore] = field(default_factory=OrderedDict)

    def get(self, target: str, customer_ids: Iterable[str]) -> list[LastScore | None]:
        """The last score of each customer."""
        return [self._held.get((target, customer)) for customer in customer_ids]

    def put(
        self,
        target: str,
        customer_ids: Sequence[str],
        scores: Sequence[float],
        as_of: Sequence[float],
        *,
        scored_at: datetime,
        model_version: str,
        canary: bool,
    ) -> None:
        """Remember what a model computed at one moment."""
        held, last = self._held, LastScore
        for customer, score, newest in zip(customer_ids, scores, as_of, strict=True):
            key = (target, customer)
            held[key] = last(score, newest, scored_at, model_version, canary)
            held.move_to_end(key)
        while len(held) > self.capacity:
            held.popitem(last=False)
