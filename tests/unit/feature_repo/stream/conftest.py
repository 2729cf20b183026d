"""Events and a worker over the queue in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from feature_repo.errors import StoreUnavailable
from feature_repo.event import Event, EventType
from feature_repo.stream.envelope import pack
from feature_repo.stream.memory import MemoryQueue
from feature_repo.stream.metrics import WorkerMetrics
from feature_repo.stream.port import ONLINE
from feature_repo.stream.settings import QueueSettings
from feature_repo.stream.worker import run_worker
from feature_repo.stream.worker_health import WorkerHealth

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

EventsMaker = Callable[..., list[Event]]


class Recorder:
    """A handler that keeps what it got, and fails as it is told."""

    def __init__(self, stop: threading.Event, wanted: int) -> None:
        self.stop = stop
        self.wanted = wanted
        self.calls: list[list[str]] = []
        self.handled: list[str] = []
        self.poison: set[str] = set()
        self.outages = 0
        #: Tries after which what was poison is handled.
        self.cured_after: int | None = None

    def handle(self, events: Sequence[Event]) -> None:
        ids = [event.event_id for event in events]
        self.calls.append(ids)
        if self.outages:
            self.outages -= 1
            message = "The store is away. Wait."
            raise StoreUnavailable(message)
        if self.poison & set(ids):
            if self.cured_after is not None:
                self.cured_after -= 1
            if self.cured_after is None or self.cured_after > 0:
                message = f"secret of {ids}"
                raise ValueError(message)
        self.handled += ids
        if len(set(self.handled)) >= self.wanted:
            self.stop.set()


class Bench:
    """A queue, a handler, and a worker that ends when the handler has what it wanted."""

    def __init__(self, wanted: int) -> None:
        self.queue = MemoryQueue(clock=lambda: NOW)
        self.stop = threading.Event()
        self.handler = Recorder(self.stop, wanted)
        self.metrics = WorkerMetrics(ONLINE)
        self.health = WorkerHealth()

    def publish(self, events: Sequence[Event], *, per_message: int = 500) -> None:
        for start in range(0, len(events), per_message):
            self.queue.publisher().publish([*pack(events[start : start + per_message])])

    def run(self, **settings: object) -> None:
        # Ends the test, not the worker's patience, if the handler never gets what it wants.
        guard = threading.Timer(20, self.stop.set)
        guard.start()
        run_worker(
            self.queue,
            ONLINE,
            self.handler,
            name="worker",
            clock=lambda: NOW,
            stop=self.stop,
            metrics=self.metrics,
            health=self.health,
            settings=QueueSettings.model_validate({"most_tries": 3, **settings}),
            wait_s=0.0,
        )
        guard.cancel()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"group": ONLINE, **labels})


@pytest.fixture
def bench() -> Callable[[int], Bench]:
    """Makes a bench that ends after so many different events."""
    return Bench


@pytest.fixture
def events() -> EventsMaker:
    """Makes events e0, e1, ..."""

    def make(count: int, start: int = 0) -> list[Event]:
        return [
            Event(
                event_id=f"e{number}",
                type=EventType.OPENED,
                customer_id=f"c{number % 7}",
                event_time=NOW - timedelta(hours=number),
                received_time=NOW - timedelta(seconds=0.25),
            )
            for number in range(start, start + count)
        ]

    return make
