"""Connectors as a process: each in a thread of its own, so that a slow tool delays no other."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event as Flag
from typing import Final

import structlog

from feature_repo.deliverability.patience import Pace
from feature_repo.errors import ConfigError, StoreUnavailable
from feature_repo.settings import Settings
from feature_repo.sole import only_one
from feature_repo.stream.consumer_name import process_name
from feature_repo.stream.metrics import WorkerMetrics
from feature_repo.stream.port import Queue
from feature_repo.stream.queue import open_queue
from feature_repo.stream.score_streams import stream_named
from feature_repo.stream.worker_health import WorkerHealth, health_server
from feature_repo.stream.worker_patience import Patience, Stopping
from feature_repo.stream.worker_process import stopped_by_signals
from feature_repo.targets import suggestion
from serving.routing.connectors.deliverer import Deliverer
from serving.routing.connectors.kinds import Means, open_connector
from serving.routing.connectors.metrics import ConnectorMetrics
from serving.routing.connectors.port import Connector
from serving.routing.connectors.settings import ALL, ConnectorSettings
from serving.routing.connectors.streams import StreamSource, group_of

ROLE: Final = "connectors"
LOOK_EVERY_S: Final = 0.5
BACKLOG_EVERY_S: Final = 5.0

log = structlog.get_logger()


def chosen(found: Sequence[ConnectorSettings], name: str) -> list[ConnectorSettings]:
    """The connector of that name, or all of them.

    Raises:
        ConfigError: there is none.
    """
    if not found:
        message = (
            "foresend.yaml declares no connectors. Add one under routing.connectors "
            "(docs/connectors.md)."
        )
        raise ConfigError(message)
    picked = [one for one in found if name in {ALL, one.name}]
    if not picked:
        names = [one.name for one in found]
        message = (
            f"No connector is called {name!r}{suggestion(name, names)}; "
            f"use {', '.join(names)} or {ALL}."
        )
        raise ConfigError(message)
    return picked


def chosen_one(found: Sequence[ConnectorSettings], name: str) -> ConnectorSettings:
    """The connector of that name.

    Raises:
        ConfigError: there is none.
    """
    for one in found:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in found)
    message = f"No connector is called {name!r}; foresend.yaml declares {names or 'none'}."
    raise ConfigError(message)


def queues_of(settings: Settings, connector: ConnectorSettings, closing: ExitStack) -> list[Queue]:
    """The queues of a connector's streams; closed by `closing`."""
    queues = [open_queue(settings, stream=stream_named(name)) for name in connector.streams]
    for queue in queues:
        closing.callback(queue.close)
    return queues


def real_pace(stop: Flag | None = None) -> Pace:
    """Waiting that takes time, and ends when `stop` is set."""

    def sleep(seconds: float) -> None:
        if stop is None:
            time.sleep(seconds)
        else:
            stop.wait(seconds)

    return Pace(
        monotonic=time.monotonic,
        sleep=sleep,
        chance=random.random,
        clock=lambda: datetime.now(UTC),
    )


def serve_connectors(
    settings: Settings, connectors: Sequence[ConnectorSettings], *, metrics_port: int, host: str
) -> None:
    """Deliver until a signal. Health and metrics are served unless the port is 0.

    Raises:
        ConfigError: a connector cannot be used as it is configured.
    """
    metrics = WorkerMetrics(ROLE)
    series = ConnectorMetrics(metrics.registry)
    health = WorkerHealth()
    with stopped_by_signals(health) as stop, ExitStack() as closing:
        means = Means(pace=real_pace(stop), home=settings.home.absolute())
        lines = [
            _Line(settings, one, open_connector(one, means), means.pace, series, metrics, stop)
            for one in connectors
        ]
        if metrics_port:
            closing.enter_context(
                health_server(health, metrics.exposition, port=metrics_port, host=host)
            )
        with ThreadPoolExecutor(len(lines), thread_name_prefix="connector") as threads:
            _watch([(line, threads.submit(line.run)) for line in lines], health, stop)
    log.info("worker_stopped", group=ROLE)


def _watch(running: Sequence[tuple[_Line, Future[None]]], health: WorkerHealth, stop: Flag) -> None:
    """Show how the lines are until `stop` is set, or one of them breaks: then all stop."""
    try:
        while not stop.is_set():
            for _, future in running:
                if future.done():
                    future.result()
            if all(line.health.alive() for line, _ in running):
                health.beat()
            troubles = [one for line, _ in running if (one := line.trouble) is not None]
            health.trouble = " ".join(troubles) or None
            stop.wait(LOOK_EVERY_S)
    finally:
        stop.set()


@dataclass
class _Line:
    """One connector and its thread."""

    settings: Settings
    connector_settings: ConnectorSettings
    connector: Connector
    pace: Pace
    series: ConnectorMetrics
    metrics: WorkerMetrics
    stop: Flag
    health: WorkerHealth = field(default_factory=WorkerHealth)
    _deliverer: Deliverer | None = None
    _seen_at: float = -float("inf")

    @property
    def trouble(self) -> str | None:
        """Why it does not get on."""
        if self.health.trouble is not None:
            return self.health.trouble
        return None if self._deliverer is None else self._deliverer.trouble

    def run(self) -> None:
        """Deliver until the flag is set. One process of a machine at a time; others stand by."""
        name = self.connector_settings.name
        patience = Patience(self.stop, self.health, self.metrics)
        with ExitStack() as closing:
            closing.callback(self.connector.close)
            with suppress(Stopping):
                patience.until_available(
                    lambda: closing.enter_context(only_one(self.settings, group_of(name)))
                )
                source = self._source(closing)
                deliverer = self._deliverer = Deliverer(
                    self.connector_settings, self.connector, source, self.pace, self.series
                )
                log.info("connector_started", connector=name)
                while not self.stop.is_set():
                    self.health.beat()
                    patience.until_available(deliverer.run_once, meanwhile=self.health.beat)
                    patience.until_available(lambda: self._show_backlog(source))
                deliverer.settle()

    def _source(self, closing: ExitStack) -> StreamSource:
        name = self.connector_settings.name
        queues = queues_of(self.settings, self.connector_settings, closing)
        source = StreamSource(queues, name, process_name(group_of(name)))

        def leave() -> None:
            with suppress(StoreUnavailable):
                source.close()

        closing.callback(leave)
        return source

    def _show_backlog(self, source: StreamSource) -> None:
        now = self.pace.monotonic()
        if now - self._seen_at > BACKLOG_EVERY_S:
            self._seen_at = now
            seen = source.backlog()
            self.series.backlog(self.connector_settings.name, seen.messages, seen.oldest_age_s)
