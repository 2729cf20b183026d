"""From a request to its answer: who scores, in which batch, until when. Knows no HTTP.

Requests of at most 64 customers wait for nothing but the turn of the event loop they came in, and
are read and scored together (serving/batcher.py). Larger ones go in small chunks beside them
(serving/bulk.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

import numpy as np

from serving.answers import Answer, ScoreAnswer
from serving.asks import Ask
from serving.batch import Batch
from serving.batcher import MOST_CUSTOMERS, Batcher, Job
from serving.bulk import CHUNK, BulkLane
from serving.errors import DeadlineExceeded, NoModel, Overloaded, UnknownTarget
from serving.heads import Heads
from serving.last_scores import LastScores
from serving.metrics import Metrics
from serving.plausible import check_ask
from serving.prediction_writer import PredictionWriter
from serving.scorer import Afterwards, Scorer
from serving.scoring import Known, Rules, known_at_send
from serving.served import UNUSABLE, Route
from serving.shadow import Shadow
from serving.store import FeatureStore, Stored
from serving.store_reads import StoreReads
from serving.traced import Part, untraced
from serving.watch import ModelWatch

__all__ = ["LastScores", "Rules", "ScoringService", "untraced"]

MOST_WAITING: Final = 16_384
"""Customers of all requests in flight; what comes then is refused, as it would wait too long."""


@dataclass
class ScoringService:
    """Everything a request needs. Belongs to one event loop."""

    watch: ModelWatch
    store: FeatureStore
    predictions: PredictionWriter
    metrics: Metrics
    rules: Rules
    clock: Callable[[], datetime]
    last_scores: LastScores
    #: What challengers score unseen; None: nothing.
    shadow: Shadow | None = None
    #: Whether what is not needed is to be left out: reasons, and the shadow.
    is_busy: Callable[[], bool] = lambda: False
    monotonic: Callable[[], float] = time.monotonic
    #: Around a part of the work for some requests: what traces see of it.
    part: Part = untraced
    _reads: StoreReads = field(init=False)
    _scorer: Scorer = field(init=False)
    _batcher: Batcher = field(init=False)
    _bulk: BulkLane = field(init=False)
    _heads: Heads = field(init=False, default_factory=Heads)
    _in_flight: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._reads = StoreReads(self.store, self.metrics, self.monotonic, self.part)
        self._scorer = Scorer(
            self.predictions, self.last_scores, self.metrics, self.shadow, self.is_busy
        )
        self._batcher = Batcher(self._answer)
        self._bulk = BulkLane(lambda: self._batcher.is_idle)

    async def score(self, ask: Ask) -> Answer:
        """Scores in the order of the request's customers.

        Raises:
            InvalidRequest: it is nothing that can be scored.
            UnknownTarget: its target is not configured.
            NoModel: none was ever loaded for it.
            DeadlineExceeded: it cannot be answered by its deadline.
            Overloaded: too much waits.
        """
        check_ask(ask)
        route = self._route(ask.target)
        if self._is_late(ask):
            raise self._too_late()
        customers = len(ask.customers)
        if self._in_flight + customers > MOST_WAITING:
            message = f"{self._in_flight} customers are being scored, and {MOST_WAITING} is most."
            raise Overloaded(message, headers={"Retry-After": "1"})
        self._in_flight += customers
        try:
            if customers > MOST_CUSTOMERS:
                return await self._answer_large(ask, route)
            job = Job(ask, route, asyncio.get_running_loop().create_future())
            self._batcher.add(job)
            return await job.future
        finally:
            self._in_flight -= customers

    def _route(self, target: str) -> Route:
        state = self.watch.states.get(target)
        if state is None:
            known = ", ".join(sorted(self.watch.states))
            message = f"No target is called {target!r}. Known targets: {known}."
            raise UnknownTarget(message)
        route = self.watch.route(target)
        if route is None:
            reason = state.problem or self.watch.unavailable or "no version is its champion yet"
            message = (
                f"No model of {target!r} is loaded: {reason}. Train one with `foresend train "
                f"{target}` or promote one with `foresend models promote {target} VERSION`."
            )
            raise NoModel(message, headers={"Retry-After": "5"})
        return route

    def _is_late(self, ask: Ask) -> bool:
        return ask.deadline is not None and ask.deadline <= self.monotonic()

    def _too_late(self) -> DeadlineExceeded:
        self.metrics.scoring.too_late.inc()
        message = "The deadline passed before the scores were there. Allow more time, or ask later."
        return DeadlineExceeded(message)

    def _in_time(self, jobs: Sequence[Job]) -> list[int]:
        """Places of the jobs that somebody still waits for; late ones are told."""
        kept = []
        for place, job in enumerate(jobs):
            if job.future.done():
                continue
            if self._is_late(job.ask):
                job.fail(self._too_late())
                continue
            kept.append(place)
        return kept

    async def _answer(self, jobs: Sequence[Job]) -> None:
        """One micro-batch: read once, score once per version."""
        jobs = [jobs[place] for place in self._in_time(jobs)]
        if not jobs:
            return
        now = self.clock()
        asks = [job.ask for job in jobs]
        batch = Batch.of(asks, now)
        self.metrics.scoring.batch.observe(len(batch.ids))
        stored = await self._reads.read(batch.ids, asks, bulk=False)
        known = None if stored is None else self._known(stored, batch)
        starts = np.cumsum([0, *(len(job.ask.customers) for job in jobs)]).tolist()
        kept = self._in_time(jobs)
        by_route: dict[int, list[int]] = {}
        for place in kept:
            by_route.setdefault(id(jobs[place].route), []).append(place)
        for places in by_route.values():
            if len(places) == len(jobs):
                self._finish(jobs, batch, known)
                continue
            rows = [row for place in places for row in range(starts[place], starts[place + 1])]
            part = None if known is None else known.take(rows)
            self._finish([jobs[place] for place in places], batch.take(rows), part)

    def _finish(self, jobs: Sequence[Job], batch: Batch, known: Known | None) -> None:
        """Answer jobs of one route, whose customers are those of the batch."""
        route = jobs[0].route
        afterwards: Afterwards = []
        try:
            with self.part("model", [job.ask for job in jobs]):
                rows = self._rows(batch, known, route, afterwards)
        except UNUSABLE as exc:
            # Of this model, not of what the others asked for.
            if len(jobs) == 1:
                jobs[0].fail(exc)
            else:
                self._finish_apart(jobs, batch, known)
            return
        _do(afterwards)
        at = batch.now.timestamp()
        start = 0
        for job in jobs:
            end = start + len(job.ask.customers)
            if not job.future.done():
                send_at = at if job.ask.send_at is None else job.ask.send_at
                job.future.set_result(self._heads.answer(job.ask, route, send_at, rows[start:end]))
            start = end

    def _finish_apart(self, jobs: Sequence[Job], batch: Batch, known: Known | None) -> None:
        """Answer each job by itself: one customer's data may be all that the model fails at."""
        start = 0
        for job in jobs:
            end = start + len(job.ask.customers)
            rows = range(start, end)
            self._finish([job], batch.take(rows), None if known is None else known.take(rows))
            start = end

    def _rows(
        self, batch: Batch, known: Known | None, route: Route, afterwards: Afterwards
    ) -> list[ScoreAnswer]:
        if known is None:
            return self._scorer.score_without_store(batch, route, afterwards)
        return self._scorer.score(batch, known, route, afterwards)

    async def _answer_large(self, ask: Ask, route: Route) -> Answer:
        send_at = self.clock().timestamp() if ask.send_at is None else ask.send_at
        whole = replace(ask, send_at=send_at)
        starts = range(0, len(ask.customers), CHUNK)
        parts: list[list[ScoreAnswer]] = [[] for _ in starts]
        afterwards: Afterwards = []
        chunks = [
            partial(self._answer_chunk, whole, route, start, parts, place, afterwards)
            for place, start in enumerate(starts)
        ]
        await self._bulk.run(chunks)
        _do(afterwards)
        return self._heads.answer(ask, route, send_at, [row for part in parts for row in part])

    async def _answer_chunk(
        self,
        ask: Ask,
        route: Route,
        start: int,
        parts: list[list[ScoreAnswer]],
        place: int,
        afterwards: Afterwards,
    ) -> None:
        if self._is_late(ask):
            raise self._too_late()
        customers = ask.customers[start : start + CHUNK]
        batch = Batch.of([replace(ask, customers=customers)], self.clock())
        stored = await self._reads.read(batch.ids, [ask], bulk=True)
        known = None if stored is None else self._known(stored, batch)
        with self.part("model", [ask]):
            parts[place] = self._rows(batch, known, route, afterwards)

    def _known(self, stored: Stored, batch: Batch) -> Known:
        now = batch.now.timestamp()
        return known_at_send(stored, batch.send_at, batch.utc_offsets, now=now, rules=self.rules)


def _do(afterwards: Afterwards) -> None:
    for one in afterwards:
        one()
