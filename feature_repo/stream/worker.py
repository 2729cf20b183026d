"""The loop of a consumer group: take, unpack, handle, acknowledge last.

A store that does not answer is waited for. An event that cannot be handled is found by halving,
tried a few times and buried alone; its neighbours get through. A message whose process died each
time is buried unopened.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event as Flag
from typing import Final

import structlog

from feature_repo.errors import StoreUnavailable
from feature_repo.event import Event
from feature_repo.stream.envelope import BadEnvelope, pack, unpack
from feature_repo.stream.handler import Handler
from feature_repo.stream.metrics import WorkerMetrics
from feature_repo.stream.port import Consumer, Delivery, Queue
from feature_repo.stream.settings import QueueSettings
from feature_repo.stream.worker_batch import WAIT_S, Intake, batching
from feature_repo.stream.worker_health import WorkerHealth
from feature_repo.stream.worker_patience import Patience, Stopping

CHORES_EVERY_S: Final = 5.0

log = structlog.get_logger()


def run_worker(
    queue: Queue,
    group: str,
    handler: Handler,
    *,
    name: str,
    clock: Callable[[], datetime],
    stop: Flag,
    metrics: WorkerMetrics,
    health: WorkerHealth | None = None,
    settings: QueueSettings | None = None,
    wait_s: float = WAIT_S,
) -> None:
    """Work for the group until `stop` is set; the batch in hand is finished first.

    `name` is unique among all processes; `consumer_name.process_name` makes one that also lets
    others notice a death at once.
    """
    settings = settings or QueueSettings()
    health = health or WorkerHealth()
    worker = _Worker(
        queue=queue,
        group=group,
        handler=handler,
        consumer=queue.consumer(group, name),
        clock=clock,
        metrics=metrics,
        health=health,
        most_tries=settings.most_tries,
        patience=Patience(stop, health, metrics),
    )
    intake = Intake(worker.consumer, batching(settings, group), wait_s=wait_s)
    log.info("worker_started", group=group, consumer=name)
    with _chores(queue, metrics, stop):
        try:
            while not stop.is_set():
                health.beat()
                worker.digest(worker.patience.until_available(intake.gather))
        except Stopping:
            log.info("left_unfinished", group=group)
        worker.leave()
    log.info("worker_stopped", group=group)


@dataclass
class _Worker:
    """Digests messages for one group."""

    queue: Queue
    group: str
    handler: Handler
    consumer: Consumer
    clock: Callable[[], datetime]
    metrics: WorkerMetrics
    health: WorkerHealth
    most_tries: int
    patience: Patience
    _in_hand: list[str] = field(default_factory=list)
    _kept_at: float = 0.0

    def digest(self, found: Sequence[Delivery]) -> None:
        """Return when all messages are handled or buried, and acknowledged."""
        if not found:
            return
        self._in_hand = [delivery.id for delivery in found]
        self.metrics.retried("redelivery", sum(delivery.deliveries > 1 for delivery in found))
        opened = [(d, events) for d in found if (events := self._open(d)) is not None]
        unusable = set(self._in_hand) - {delivery.id for delivery, _ in opened}
        self._finish(sorted(unusable))
        self._handle(opened)

    def leave(self) -> None:
        """Leave the group; what is unfinished goes to others."""
        self.health.stopping = True
        try:
            self.consumer.close()
        except StoreUnavailable:
            log.warning("left_without_a_word", group=self.group)

    def _open(self, delivery: Delivery) -> list[Event] | None:
        """The events of a message; None when it was buried as it is."""
        if delivery.deliveries > self.most_tries:
            tries = delivery.deliveries - 1
            self._bury(delivery.body, f"handed out {tries} times, and whoever had it died")
            return None
        try:
            return unpack(delivery.body)
        except BadEnvelope as exc:
            self._bury(delivery.body, str(exc))
            return None

    def _handle(self, messages: Sequence[tuple[Delivery, list[Event]]]) -> None:
        """All messages at once; when that fails, halves of them."""
        if not messages:
            return
        reason = self._attempt([event for _, events in messages for event in events])
        if reason is not None and len(messages) > 1:
            middle = len(messages) // 2
            self._handle(messages[:middle])
            self._handle(messages[middle:])
            return
        if reason is not None:
            self._isolate(messages[0][1], reason)
        self._finish([delivery.id for delivery, _ in messages])

    def _isolate(self, events: Sequence[Event], reason: str) -> None:
        """Handle events of which at least one cannot be; bury those alone that cannot."""
        if len(events) == 1:
            self._last_tries(events[0], reason)
            return
        middle = len(events) // 2
        for half in (events[:middle], events[middle:]):
            problem = self._attempt(half)
            if problem is not None:
                self._isolate(half, problem)

    def _last_tries(self, event: Event, reason: str | None) -> None:
        for tries in range(1, self.most_tries):
            self.health.trouble = "An event cannot be handled and is being tried again."
            self._keep()
            if self.patience.pause(tries):
                raise Stopping
            reason = self._attempt([event])
            if reason is None:
                return
        self._bury(next(pack([event])), str(reason))

    def _attempt(self, events: Sequence[Event]) -> str | None:
        """Handle the events; None when they are, else what went wrong, without personal data."""
        began = time.monotonic()
        try:
            self.patience.until_available(lambda: self.handler.handle(events), meanwhile=self._keep)
        except Stopping:
            raise
        # Whatever a handler trips over is the fault of an event until the worker has tried
        # each one alone; were it to end here, one bad event would stop the stream.
        except Exception as exc:  # noqa: BLE001
            self.metrics.retried("event")
            reason = _told(exc)
            log.error("handling_failed", events=len(events), first=_digest(events[0]), why=reason)
            return reason
        self.metrics.handled(events, self.clock(), time.monotonic() - began)
        return None

    def _bury(self, body: bytes, reason: str) -> None:
        self.patience.until_available(
            lambda: self.queue.bury(body, group=self.group, reason=reason), meanwhile=self._keep
        )
        self.metrics.dead.inc()
        log.error("buried", group=self.group, bytes=len(body), why=reason)

    def _finish(self, ids: Sequence[str]) -> None:
        if ids:
            self.patience.until_available(lambda: self.consumer.ack(ids))
            self._in_hand = [entry for entry in self._in_hand if entry not in set(ids)]
            self.health.beat()

    def _keep(self) -> None:
        if time.monotonic() - self._kept_at > 1.0:
            self._kept_at = time.monotonic()
            self.health.beat()
            self.consumer.keep(self._in_hand)


@contextmanager
def _chores(queue: Queue, metrics: WorkerMetrics, stop: Flag) -> Iterator[None]:
    """Trim the queue and show its state meanwhile, now and then, until `stop` is set."""

    def work() -> None:
        while True:
            try:
                trimmed = queue.trim()
                metrics.queue.seen(queue.backlog(metrics.group), queue.fullness(), trimmed)
            except StoreUnavailable:
                log.debug("queue_not_seen")  # the loop says it loudly enough
            if stop.wait(CHORES_EVERY_S):
                return

    thread = threading.Thread(target=work, name=f"{metrics.group}-chores", daemon=True)
    thread.start()
    yield
    thread.join()


def _told(exc: Exception) -> str:
    """Kind and place of an error. Its text is left out: it may quote the event."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(exc).__name__
    module = trace.tb_frame.f_globals.get("__name__", "?")
    function = trace.tb_frame.f_code.co_qualname
    return f"{type(exc).__name__} in {module}.{function}, line {trace.tb_lineno}"


def _digest(event: Event) -> str:
    return hashlib.sha256(event.event_id.encode()).hexdigest()[:12]
