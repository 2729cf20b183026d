"""Scores by the service that also answers HTTP, run by a loop in a thread of the router."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar

import structlog

from feature_repo.errors import StoreUnavailable
from serving.answers import Answer, ScoreAnswer
from serving.asks import Ask
from serving.errors import NoModel, Overloaded
from serving.routing.scorer import Verdict, Verdicts
from serving.served import UNUSABLE

MOST_FAILURES: Final = 16
"""Failures of one ask's model before anybody was scored, after which the rest is not tried."""

UNDER_WAY: Final = 4
"""Asks that the service has at once: one is read while another is scored, and little waits."""

log = structlog.get_logger()

Result = TypeVar("Result")
"""What a coroutine returns."""


class Service(Protocol):
    """What is used of the scoring service."""

    async def score(self, ask: Ask) -> Answer:
        """The answer to an ask; raises NoModel when there is no model of its target yet."""


class ServiceScorer:
    """See `scorer.Scorer`. Models are watched and predictions logged as in the scoring API."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[Service]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="router-scoring", daemon=True
        )
        self._thread.start()
        self._closing = AsyncExitStack()
        is_open = False
        try:
            self._service = self._run(self._closing.enter_async_context(opening()))
            is_open = True
        finally:
            if not is_open:
                self._end()

    def score(self, asks: Sequence[Ask]) -> Sequence[Verdicts | None]:
        """Verdicts of each ask, a few of which are under way at once. When a model fails on the
        customers of one, those it fails on are found by halves, and the others scored."""
        return self._run(self._all(asks))

    def close(self) -> None:
        """Stop watching, and write what the prediction log still waits for."""
        try:
            self._run(self._closing.aclose())
        finally:
            self._end()

    async def _all(self, asks: Sequence[Ask]) -> list[Verdicts | None]:
        lanes = asyncio.Semaphore(UNDER_WAY)
        return list(await asyncio.gather(*(self._one(ask, lanes) for ask in asks)))

    async def _one(self, ask: Ask, lanes: asyncio.Semaphore) -> Verdicts | None:
        found: dict[int, Verdict] = {}
        failures = 0
        left = [range(len(ask.customers))]
        while left and (found or failures < MOST_FAILURES):
            places = left.pop()
            part = replace(ask, customers=[ask.customers[place] for place in places])
            try:
                async with lanes:
                    verdicts = await self._asked(part)
            except NoModel:
                return None
            except StoreUnavailable:
                raise
            except Overloaded as exc:
                raise StoreUnavailable(str(exc)) from exc
            except UNUSABLE as exc:
                failures += 1
                if failures == 1:
                    log.error("model_fails", target=ask.target, problem=type(exc).__name__)
                half = len(places) // 2
                left += [one for one in (places[half:], places[:half]) if half and one]
            else:
                found |= zip(places, verdicts, strict=True)
        return [found.get(place) for place in range(len(ask.customers))]

    async def _asked(self, ask: Ask) -> list[Verdict]:
        answer = await self._service.score(ask)
        policy = answer.tier_policy
        used = None if policy is None else policy.model_version
        return [_verdict(score, used) for score in answer.scores]

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _verdict(score: ScoreAnswer, policy: str | None) -> Verdict:
    return Verdict(
        score=score.score,
        tier=score.tier,
        model_version=score.model_version,
        tier_policy=policy,
        degraded=None if score.degraded is None else score.degraded.cause,
        as_of=score.as_of,
    )
