"""The scheduler as a process: signals, health over HTTP, and the loop."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from feature_repo.settings import Settings
from feature_repo.stream.worker_health import WorkerHealth, health_server
from feature_repo.stream.worker_process import stopped_by_signals
from infra.scheduler.jobs import Schedule
from infra.scheduler.ledger import Ledger
from infra.scheduler.metrics import SchedulerMetrics
from infra.scheduler.runner import Runner
from infra.scheduler.scheduler import Scheduler

log = structlog.get_logger()


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def serve_schedule(
    settings: Settings, schedule: Schedule, *, metrics_port: int, host: str = "127.0.0.1"
) -> None:
    """Run jobs until a signal. A job that runs then is asked to stop and run again at next start.

    Port 0: no health and no metrics.

    Raises:
        ConfigError: the port cannot be listened on.
    """
    ledger = Ledger(settings)
    health = WorkerHealth(trouble="The scheduler has not started yet.")
    metrics = SchedulerMetrics(schedule, ledger, utc_now)
    with stopped_by_signals(health) as stop:
        scheduler = Scheduler(
            settings=settings,
            schedule=schedule,
            ledger=ledger,
            runner=Runner(settings=settings, ledger=ledger, clock=utc_now),
            clock=utc_now,
            stop=stop,
            health=health,
            metrics=metrics,
        )
        log.info("scheduler_started", jobs=[*schedule.jobs])
        if metrics_port == 0:
            scheduler.run()
        else:
            with health_server(health, metrics.exposition, port=metrics_port, host=host):
                scheduler.run()
    log.info("scheduler_stopped")
