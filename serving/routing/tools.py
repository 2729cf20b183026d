"""What answering requests and telling changes have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from feature_repo.errors import StoreUnavailable
from serving.asks import Ask
from serving.routing.conditions import Case
from serving.routing.decide import Decision, decide
from serving.routing.facts import Facts, FactsReader
from serving.routing.memory import Book
from serving.routing.metrics import RouterMetrics
from serving.routing.scorer import Scorer, Verdict, Verdicts
from serving.routing.settings import RoutingSettings
from serving.schemas import Cause

ROUNDS: Final = 20
"""Times that other routers may be quicker before the store is called unavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Of one router."""

    settings: RoutingSettings
    scorer: Scorer
    facts: FactsReader
    book: Book
    metrics: RouterMetrics
    clock: Callable[[], datetime]

    @property
    def valid(self) -> timedelta:
        """How long a message is worth acting on."""
        return timedelta(hours=self.settings.valid_hours)

    def verdicts(self, asks: Sequence[Ask]) -> Sequence[Verdicts | None]:
        """As `Scorer.score`; a score without features is no answer here: the queue can wait.

        Raises:
            StoreUnavailable: the store of features does not answer.
        """
        found = self.scorer.score(asks) if asks else []
        for verdicts in found:
            for verdict in verdicts or ():
                if verdict is not None and verdict.degraded == Cause.STORE_UNAVAILABLE:
                    message = "The feature store did not answer while customers were scored."
                    raise StoreUnavailable(message)
        return found

    def decide(
        self,
        customer_id: str,
        verdict: Verdict,
        facts: Facts | None,
        *,
        sends: Sequence[float],
        at: datetime,
    ) -> Decision:
        """What to do about a message to the customer at a moment."""
        case = None
        if facts is not None:
            case = Case(facts=facts, score=verdict.score, tier=verdict.tier)
        return decide(customer_id, case, self.settings, sends=sends, now=at)


def too_many_races(customers: int) -> StoreUnavailable:
    """The error that says that other routers change the same customers all the time."""
    return StoreUnavailable(
        f"{customers} customers were changed by other routers {ROUNDS} times in a row. "
        "Run fewer of `foresend worker router`."
    )
