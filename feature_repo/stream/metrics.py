"""What Prometheus may know of a worker. Labels are few and closed: never a customer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from feature_repo.event import Event
from feature_repo.stream.port import Backlog

_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
_FRESHNESS: Final = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 5.0, 15.0, 60.0, 600.0)
_EVENTS: Final = (1, 10, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)


class QueueMetrics:
    """The series of the queue as one group sees it."""

    def __init__(self, group: str, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ("group",), registry=registry).labels(group)

        self._backlog = gauge(
            "foresend_queue_backlog_messages", "Messages the group has not finished."
        )
        self._pending = gauge(
            "foresend_queue_pending_messages", "Messages handed out and not acknowledged."
        )
        self._oldest = gauge(
            "foresend_queue_oldest_age_seconds",
            "Age of the oldest message the group has not finished.",
        )
        self._fullness = Gauge(
            "foresend_queue_fullness_ratio",
            "How much of what the queue may take is taken; at 1 it takes no more.",
            registry=registry,
        )
        self._trimmed = Counter(
            "foresend_queue_trimmed_messages",
            "Messages dropped after every group had acknowledged them.",
            registry=registry,
        )

    def seen(self, backlog: Backlog, fullness: float, trimmed: int) -> None:
        """Show the state of the queue."""
        self._backlog.set(backlog.messages)
        self._pending.set(backlog.pending)
        self._oldest.set(backlog.oldest_age_s)
        self._fullness.set(fullness)
        self._trimmed.inc(trimmed)


class WorkerMetrics:
    """The series of one worker process."""

    def __init__(self, group: str) -> None:
        self.registry = registry = CollectorRegistry()
        self.group = group
        self.queue = QueueMetrics(group, registry)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            made = Histogram(name, text, ("group",), buckets=buckets, registry=registry)
            return made.labels(group)

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, ("group",), registry=registry).labels(group)

        self.batch = histogram("foresend_worker_batch_events", "Events handled at a time.", _EVENTS)
        self.handle = histogram(
            "foresend_worker_handle_seconds",
            "Time of one batch until its effects were durable.",
            _SECONDS,
        )
        self._freshness = histogram(
            "foresend_worker_freshness_seconds",
            "From the moment an event was received to the moment its effects were durable.",
            _FRESHNESS,
        )
        self._owed = Gauge(
            "foresend_worker_owed_customers",
            "Customers whose state will be read from the log anew.",
            registry=registry,
        )
        self._owed_age = Gauge(
            "foresend_worker_owed_oldest_age_seconds",
            "For how long the first of them has been waiting.",
            registry=registry,
        )
        self.events = counter("foresend_worker_events", "Events handled.")
        self.dead = counter("foresend_worker_dead_letters", "Dead letters buried.")
        self.retries = Counter(
            "foresend_worker_retries",
            "Tries that failed: store (not available), event (to blame), redelivery (taken again).",
            ("group", "cause"),
            registry=registry,
        )
        for cause in ("store", "event", "redelivery"):
            self.retries.labels(group, cause)

    def retried(self, cause: str, count: int = 1) -> None:
        """Count tries that failed."""
        self.retries.labels(self.group, cause).inc(count)

    def handled(self, events: Sequence[Event], at: datetime, seconds: float) -> None:
        """Count a batch whose effects are durable."""
        self.batch.observe(len(events))
        self.handle.observe(seconds)
        self.events.inc(len(events))
        for event in events:
            # What was declared at an import says nothing about how fast we are.
            if not event.backfilled:
                self._freshness.observe((at - event.received_time).total_seconds())

    def exposition(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self.registry)

    def owed(self, customers: int, oldest_age_s: float) -> None:
        """Show who still waits to be computed anew."""
        self._owed.set(customers)
        self._owed_age.set(oldest_age_s)
