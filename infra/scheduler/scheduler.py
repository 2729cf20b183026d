"""The loop: one job at a time, what was missed once, and one scheduler per installation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event as Flag
from typing import Final

import structlog

from feature_repo.errors import StoreUnavailable
from feature_repo.settings import Settings
from feature_repo.sole import only_one
from feature_repo.stream.worker_health import WorkerHealth
from infra.scheduler.jobs import Job, Schedule
from infra.scheduler.ledger import By, Ledger, State
from infra.scheduler.metrics import SchedulerMetrics
from infra.scheduler.runner import JobBusy, Runner

LONGEST_WAIT_S: Final = 10.0
"""The loop looks at least this often: clocks are set, machines sleep, runs by hand end."""

MOST_INTERRUPTIONS: Final = 3
"""A run that was interrupted so often waits for its next time: it may be what kills us."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Due:
    """A job and the newest time that it was due and not run."""

    at: datetime
    job: Job


def due_jobs(schedule: Schedule, ledger: Ledger, now: datetime) -> list[Due]:
    """What should have run by now, the longest due first; many missed times of a job are one."""
    found = []
    for job in schedule.jobs.values():
        at = job.due_between(ledger.covered(job.name, now), now)
        if at is None:
            continue
        if ledger.interruptions(job.name, at) >= MOST_INTERRUPTIONS:
            log.error("job_given_up", job=job.name, due=at.isoformat(), times=MOST_INTERRUPTIONS)
            ledger.cover(job.name, at)
            continue
        found.append(Due(at, job))
    return sorted(found, key=lambda due: due.at)


def seconds_to_next(schedule: Schedule, now: datetime) -> float:
    """Until the next job is due, at most LONGEST_WAIT_S."""
    times = [job.next_after(now) for job in schedule.jobs.values()]
    longest = timedelta(seconds=LONGEST_WAIT_S)
    return min([longest, *(at - now for at in times)]).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """Runs a schedule until it is stopped."""

    settings: Settings
    schedule: Schedule
    ledger: Ledger
    runner: Runner
    clock: Callable[[], datetime]
    stop: Flag
    health: WorkerHealth
    metrics: SchedulerMetrics

    def run(self) -> None:
        """Wait to be the only scheduler of the installation; then run jobs until `stop`."""
        while not self.stop.is_set():
            self.health.beat()
            with ExitStack() as held:
                try:
                    held.enter_context(only_one(self.settings, "scheduler"))
                except StoreUnavailable:
                    self._stand_by()
                else:
                    self._lead()

    def _stand_by(self) -> None:
        """Ready to take over is all that is asked of a second scheduler."""
        self.health.trouble = None
        self.metrics.leads(False)
        log.info("standing_by", why="another scheduler of this installation is at work")
        self.stop.wait(LONGEST_WAIT_S)

    def _lead(self) -> None:
        self.metrics.leads(True)
        self.health.trouble = None
        for run in self.runner.recover():
            log.warning("run_was_interrupted", job=run.job, due=run.due.isoformat())
            self.metrics.ended(run.job, State.INTERRUPTED)
        while not self.stop.is_set():
            self.health.beat()
            if not self.turn():
                self.stop.wait(seconds_to_next(self.schedule, self.clock()))
        self.metrics.leads(False)

    def turn(self) -> bool:
        """Run what is due; whether anything could be."""
        ran = False
        for due in due_jobs(self.schedule, self.ledger, self.clock()):
            if self.stop.is_set():
                break
            ran = self._run(due) or ran
        return ran

    def _run(self, due: Due) -> bool:
        name = due.job.name
        log.info("job_started", job=name, due=due.at.isoformat())
        self.metrics.runs(name, True)
        try:
            ended = self.runner.run(
                due.job, by=By.CLOCK, due=due.at, stop=self.stop, beat=self.health.beat
            )
        except JobBusy:
            # Somebody runs it by hand; that run may make this one unnecessary.
            log.info("job_runs_already", job=name)
            return False
        finally:
            self.metrics.runs(name, False)
        self.metrics.ended(name, ended.state)
        log.info("job_ended", job=name, state=ended.state.value, code=ended.exit_code)
        return True
