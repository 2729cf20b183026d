"""The service's answers as verdicts, and its refusals as what the router does about them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from feature_repo.errors import StoreUnavailable
from serving.answers import (
    Answer,
    DegradedAnswer,
    ModelAnswer,
    ScoreAnswer,
    TierPolicyAnswer,
)
from serving.asks import Ask, AskedCustomer
from serving.errors import NoModel, Overloaded
from serving.routing.scorer import Verdict
from serving.routing.service_scorer import MOST_FAILURES, UNDER_WAY, ServiceScorer


class FakeService:
    """Scores by the length of the id; knows one target."""

    def __init__(self) -> None:
        self.closed = False
        self.under_way = self.most = self.failures = 0

    async def score(self, ask: Ask) -> Answer:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if ask.target == "full":
            raise Overloaded("too much waits")  # noqa: EM101
        if ask.target == "broken":
            self.failures += 1
            raise ValueError
        if any(one.customer_id.startswith("bad") for one in ask.customers):
            self.failures += 1
            raise ArithmeticError
        if ask.target != "buy":
            raise NoModel("none")  # noqa: EM101
        return Answer(
            request_id="",
            target="buy",
            send_at="2026-01-01T00:00:00Z",
            model=ModelAnswer("buy", "3", None, "2026-01-01T00:00:00Z"),
            tier_policy=TierPolicyAnswer("2", "eve", "2026-01-01", False, ("low",), ()),
            scores=[_score(one.customer_id) for one in ask.customers],
        )


def _score(customer: str) -> ScoreAnswer:
    degraded = DegradedAnswer("stale_features", "model", "old") if customer == "old" else None
    version = "4" if customer == "can" else "3"
    score = len(customer) / 10
    return ScoreAnswer(
        customer, score, "low", version, customer == "can", None, None, None, degraded, None
    )


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def scorer(service: FakeService) -> Iterator[ServiceScorer]:
    @asynccontextmanager
    async def opening() -> AsyncIterator[FakeService]:
        yield service
        service.closed = True

    made = ServiceScorer(opening)
    yield made
    made.close()
    assert service.closed


def ask(target: str, *customers: str) -> Ask:
    return Ask(target=target, customers=[AskedCustomer(one) for one in customers])


def test_each_ask_has_its_verdicts_or_none_without_a_usable_model(scorer: ServiceScorer) -> None:
    found = scorer.score([ask("buy", "ann", "old"), ask("none", "ann"), ask("broken", "ann")])

    assert found == [
        [
            Verdict(score=0.3, tier="low", model_version="3", tier_policy="2"),
            Verdict(
                score=0.3,
                tier="low",
                model_version="3",
                tier_policy="2",
                degraded="stale_features",
            ),
        ],
        None,
        [None],
    ]


def test_whom_a_model_fails_on_are_found_and_the_others_scored(scorer: ServiceScorer) -> None:
    names = [f"c{n}" for n in range(64)]
    names[7] = "bad7"
    names[40] = "bad40"

    (found,) = scorer.score([ask("buy", *names)])

    assert found is not None
    assert [names[place] for place, one in enumerate(found) if one is None] == ["bad7", "bad40"]
    assert [one.score for one in found if one is not None][:2] == [0.2, 0.2]


def test_a_model_that_fails_on_everybody_is_not_asked_of_each(
    scorer: ServiceScorer, service: FakeService
) -> None:
    assert scorer.score([ask("broken", *("c" * 64))]) == [[None] * 64]
    assert service.failures == MOST_FAILURES


def test_the_canary_names_its_own_version(scorer: ServiceScorer) -> None:
    ((verdict,),) = scorer.score([ask("buy", "can")])  # type: ignore[misc]  # not None

    assert verdict.model_version == "4"


def test_a_service_that_is_full_is_asked_again(scorer: ServiceScorer) -> None:
    with pytest.raises(StoreUnavailable, match="too much waits"):
        scorer.score([ask("full", "ann")])


def test_few_asks_are_under_way_at_once(scorer: ServiceScorer, service: FakeService) -> None:
    scorer.score([ask("buy", "ann")] * 50)

    assert service.most == UNDER_WAY


def test_what_cannot_be_opened_leaves_no_thread_behind() -> None:
    @asynccontextmanager
    async def opening() -> AsyncIterator[FakeService]:
        raise StoreUnavailable("down")  # noqa: EM101
        yield FakeService()

    with pytest.raises(StoreUnavailable, match="down"):
        ServiceScorer(opening)
