"""A worker as a process: signals, health over HTTP, and the loop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from threading import Event as Flag
from typing import Final

import structlog

from feature_repo.settings import Settings
from feature_repo.stream.consumer_name import process_name
from feature_repo.stream.handler import Handler
from feature_repo.stream.metrics import WorkerMetrics
from feature_repo.stream.queue import open_queue
from feature_repo.stream.settings import load_queue_settings
from feature_repo.stream.worker import run_worker
from feature_repo.stream.worker_health import WorkerHealth, health_server
from feature_repo.stream.worker_patience import Patience, Stopping

ROUND_EVERY_S: Final = 1.0

log = structlog.get_logger()


def serve_group(
    settings: Settings,
    group: str,
    make: Callable[[], Handler],
    *,
    metrics_port: int,
    host: str = "127.0.0.1",
) -> None:
    """Work for a group until a signal.

    `make` builds the handler; it is waited for while it says that a store does not answer.
    """
    metrics = WorkerMetrics(group)
    with _serving(metrics, metrics_port, host) as (stop, health):
        queue_settings = load_queue_settings()
        queue = open_queue(settings, queue_settings)
        try:
            run_worker(
                queue,
                group,
                Patience(stop, health, metrics).until_available(make),
                name=process_name(group),
                clock=lambda: datetime.now(UTC),
                stop=stop,
                metrics=metrics,
                health=health,
                settings=queue_settings,
            )
        except Stopping:
            log.info("stopped_before_it_began", group=group)
        finally:
            queue.close()


def serve_rounds(
    role: str,
    make: Callable[[WorkerMetrics], Callable[[], object]],
    *,
    metrics_port: int,
    host: str,
    every_s: float = ROUND_EVERY_S,
) -> None:
    """Do a round of work each second (or so) until a signal. `make` builds what does a round."""
    metrics = WorkerMetrics(role)
    with _serving(metrics, metrics_port, host) as (stop, health):
        patience = Patience(stop, health, metrics)
        try:
            work = patience.until_available(partial(make, metrics))
            while not stop.is_set():
                health.beat()
                began = time.monotonic()
                patience.until_available(work, meanwhile=health.beat)
                metrics.handle.observe(time.monotonic() - began)
                stop.wait(every_s)
        except Stopping:
            log.info("left_unfinished", group=role)
        health.stopping = True
    log.info("worker_stopped", group=role)


@contextmanager
def _serving(metrics: WorkerMetrics, port: int, host: str) -> Iterator[tuple[Flag, WorkerHealth]]:
    """Health over HTTP (unless the port is 0) and a flag that signals set."""
    health = WorkerHealth()
    with stopped_by_signals(health) as stop:
        if port == 0:
            yield stop, health
            return
        with health_server(health, metrics.exposition, port=port, host=host):
            yield stop, health


@contextmanager
def stopped_by_signals(health: WorkerHealth) -> Iterator[Flag]:
    """A flag that SIGTERM and SIGINT set; `health` says so at once."""
    stop = Flag()

    def ask(*_: object) -> None:
        health.stopping = True
        # From another thread: the signal may come while this one holds the flag's own lock.
        threading.Thread(target=stop.set).start()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
