"""The router: rounds of answering requests and telling changes, and its chores."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import redis

from feature_repo.errors import StoreUnavailable
from feature_repo.settings import Settings
from feature_repo.stream.consumer_name import process_name
from feature_repo.stream.metrics import WorkerMetrics
from feature_repo.stream.port import Queue, Stream
from feature_repo.stream.queue import open_queue
from feature_repo.stream.score_streams import (
    ROUTER,
    SCORE_CHANGED,
    SCORE_REQUESTS,
    SCORE_RESULTS,
)
from feature_repo.stream.settings import QueueSettings
from serving.routing.changes import Changes
from serving.routing.facts import FactsReader
from serving.routing.leases import Leases
from serving.routing.memory import Book
from serving.routing.metrics import RouterMetrics
from serving.routing.requests import Desk
from serving.routing.scorer import Scorer
from serving.routing.settings import RoutingSettings
from serving.routing.tools import Tools
from serving.routing.turns import Part, Turns

IDLE_S: Final = 0.1
"""How long a router that had nothing to do waits for a request before it looks for changes."""

CHORES_EVERY: Final = timedelta(seconds=5)


@dataclass
class Router:
    """Does rounds of work. One per process; any number of processes."""

    desk: Desk
    changes: Changes
    #: Of requests, results and changes.
    queues: tuple[Queue, ...]
    worker: WorkerMetrics
    clock: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    turns: Turns = field(init=False)
    _chores_at: datetime | None = None
    _was_idle: bool = field(default=False)

    def __post_init__(self) -> None:
        parts = (Part("requests", self._answer), Part("changes", self.changes.tell))
        self.turns = Turns(parts, self.monotonic, self.changes.tools.metrics.stopped)

    def run_once(self) -> None:
        """One round. Requests and changes do not stop each other: what one of them lacks, such as
        room in its stream, the other may have.

        Raises:
            StoreUnavailable: a store does not answer; the next round goes on where this one was.
        """
        self._chores()
        began = self.monotonic()
        self._was_idle = not self.turns.take()
        if self._was_idle and self.monotonic() - began < IDLE_S and self._is_answering_stopped():
            self.sleep(IDLE_S)  # else it is the desk that waits

    def _answer(self) -> int:
        return self.desk.work(IDLE_S if self._was_idle else 0.0)

    def _is_answering_stopped(self) -> bool:
        return self.turns.parts[0].trouble is not None

    def close(self) -> None:
        """Leave the group; what is in hand goes to others, at once if the queue answers."""
        with suppress(StoreUnavailable):
            self.desk.close()

    def _chores(self) -> None:
        now = self.clock()
        if self._chores_at is not None and now - self._chores_at < CHORES_EVERY:
            return
        self._chores_at = now
        self.changes.leases.switch_on()
        requests, *told = self.queues
        trimmed = requests.trim()
        self.worker.queue.seen(requests.backlog(ROUTER), requests.fullness(), trimmed)
        for queue, stream in zip(told, (SCORE_RESULTS, SCORE_CHANGED), strict=True):
            queue.trim()
            self.changes.tools.metrics.cut(stream.name, queue.cut())
        waiting = self.changes.leases.waiting()
        self.changes.tools.metrics.waiting(waiting.customers, waiting.oldest_age_s)


def open_router(
    settings: Settings,
    routing: RoutingSettings,
    client: redis.Redis,
    scorer: Scorer,
    worker: WorkerMetrics,
    closing: ExitStack,
    *,
    clock: Callable[[], datetime],
    queue_settings: QueueSettings,
) -> Router:
    """The router of an installation; what it holds open is closed by `closing`.

    Raises:
        ConfigError: the queue is not configured.
        StoreUnavailable: no address of Redis is known.
    """

    def opened(stream: Stream) -> Queue:
        queue = open_queue(settings, queue_settings, stream=stream)
        closing.callback(queue.close)
        return queue

    keep_s = routing.valid_hours * 3600.0
    queues = (
        opened(SCORE_REQUESTS),
        opened(replace(SCORE_RESULTS, keep_s=keep_s)),
        opened(replace(SCORE_CHANGED, keep_s=keep_s)),
    )
    results, changed = (queue.publisher(ROUTER) for queue in queues[1:])
    closing.callback(results.close)
    closing.callback(changed.close)
    tools = Tools(
        settings=routing,
        scorer=scorer,
        facts=FactsReader(client, settings.project),
        book=Book(
            client,
            settings.project,
            clock=clock,
            answer_s=keep_s,
            cap_days=max((cap.days for cap in routing.caps), default=0),
        ),
        metrics=RouterMetrics(worker.registry),
        clock=clock,
    )
    consumer = queues[0].consumer(ROUTER, process_name(ROUTER))
    desk = Desk(tools, queues[0], consumer, results, queue_settings.most_tries)
    leases = Leases(client, settings.project, clock)
    router = Router(desk, Changes(tools, leases, changed), queues, worker, clock)
    closing.callback(router.close)
    return router
