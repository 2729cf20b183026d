"""What Prometheus may know of the scheduler. The label `job` is a name of foresend.yaml."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from infra.scheduler.jobs import Schedule
from infra.scheduler.ledger import Ledger, State


class SchedulerMetrics:
    """The series of one scheduler process."""

    def __init__(self, schedule: Schedule, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self.registry = registry = CollectorRegistry()
        self._schedule, self._ledger, self._clock = schedule, ledger, clock
        self._leader = Gauge(
            "foresend_schedule_leader",
            "1 when this process runs the jobs, 0 when it stands by.",
            registry=registry,
        )
        self._since = Gauge(
            "foresend_schedule_seconds_since_last_success",
            "Since a run of the job ended well; before the first one, since the job is known.",
            ("job",),
            registry=registry,
        )
        self._period = Gauge(
            "foresend_schedule_period_seconds",
            "Time between the next two times the job is due.",
            ("job",),
            registry=registry,
        )
        self._running = Gauge(
            "foresend_schedule_running", "1 while the job runs.", ("job",), registry=registry
        )
        self._runs = Counter(
            "foresend_schedule_runs",
            "Runs that ended: done, failed or interrupted.",
            ("job", "state"),
            registry=registry,
        )
        for job in schedule.jobs:
            self._running.labels(job).set(0)
            for state in (State.DONE, State.FAILED, State.INTERRUPTED):
                self._runs.labels(job, state.value)

    def leads(self, leads: bool) -> None:
        """Say whether this process runs the jobs."""
        self._leader.set(int(leads))

    def runs(self, job: str, running: bool) -> None:
        """Say whether a job runs."""
        self._running.labels(job).set(int(running))

    def ended(self, job: str, state: State) -> None:
        """Count a run."""
        self._runs.labels(job, state.value).inc()

    def exposition(self) -> bytes:
        """All series in Prometheus' text format, ages as of now."""
        now = self._clock()
        for name, job in self._schedule.jobs.items():
            since = self._ledger.last_success(name) or self._ledger.first_seen(name) or now
            self._since.labels(name).set((now - since).total_seconds())
            self._period.labels(name).set(job.period(now).total_seconds())
        return generate_latest(self.registry)
