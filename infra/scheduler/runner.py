"""Runs one job as a process of its own and notes it; ends what a killed runner left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag
from typing import IO, Final

import psutil

from feature_repo.errors import StoreUnavailable
from feature_repo.settings import Settings
from feature_repo.sole import only_one
from infra.scheduler.jobs import Job
from infra.scheduler.ledger import By, Ledger, Process, Run, State

STOP_S: Final = 15.0
"""How long a job may take to stop once it is asked to."""

_POLL_S: Final = 0.2
_SAME_S: Final = 1.0
COMMAND: Final = (sys.executable, "-m", "infra.cli")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    state: State
    exit_code: int | None


class JobBusy(StoreUnavailable):
    """The job runs already, in this process or another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Runs jobs of one installation."""

    settings: Settings
    ledger: Ledger
    clock: Callable[[], datetime]
    #: Words before a job's own.
    command: Sequence[str] = COMMAND
    stop_s: float = STOP_S

    def run(
        self,
        job: Job,
        *,
        by: By,
        due: datetime,
        stop: Flag,
        beat: Callable[[], None] = lambda: None,
        echo: IO[str] | None = None,
    ) -> Ended:
        """Run a job to its end, or until `stop` is set; `echo` is shown what it says meanwhile.

        Raises:
            JobBusy: it runs already.
        """
        with self._only(job):
            # A runner that was killed let go of the lock; what it started may work still.
            self.recover(job.name)
            now = self.clock()
            log = self._log_file(job, now)
            me = Process(pid=os.getpid(), created=psutil.Process().create_time())
            run = self.ledger.begin(job.name, by, due, now, log, me)
            with log.open("wb") as file:
                child = self._start(job, file)
                self.ledger.started(run, _process(child.pid))
                ended = self._ended(job, self._wait(child, stop, beat, log, echo), stop)
            if ended.state is not State.INTERRUPTED:
                self.ledger.cover(job.name, now)
            self.ledger.end(run, ended.state, ended.exit_code, self.clock())
            self.ledger.trim(job.name)
            return ended

    def recover(self, job: str | None = None) -> list[Run]:
        """Note the runs (of a job) whose runner died, and end what still works for them."""
        running = self.ledger.runs(job, state=State.RUNNING)
        lost = [run for run in running if not _alive(run.owner)]
        for run in lost:
            if run.child is not None:
                _end(run.child, self.stop_s)
            self.ledger.end(run.id, State.INTERRUPTED, None, self.clock())
        return [replace(run, state=State.INTERRUPTED) for run in lost]

    @contextmanager
    def _only(self, job: Job) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(only_one(self.settings, f"job-{job.name}"))
            except StoreUnavailable as exc:
                message = f"The job {job.name} runs already; see `foresend schedule history`."
                raise JobBusy(message) from exc
            yield

    def _log_file(self, job: Job, now: datetime) -> Path:
        folder = self.settings.home.absolute() / "logs" / "schedule" / job.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{now.astimezone(UTC):%Y%m%dT%H%M%S.%f}.log"

    def _start(self, job: Job, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.command, *job.argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # A group of its own: we ask it to stop and wait, and it is not asked twice.
            start_new_session=True,
        )

    def _wait(
        self,
        child: subprocess.Popen[bytes],
        stop: Flag,
        beat: Callable[[], None],
        log: Path,
        echo: IO[str] | None,
    ) -> int:
        """The exit code of a child; one that must stop gets SIGTERM, then time, then SIGKILL."""
        with log.open("r", errors="replace") as said:
            while (code := child.poll()) is None and not stop.wait(_POLL_S):
                beat()
                _show(said, echo)
            if code is None:
                code = _stopped(child, self.stop_s)
            _show(said, echo)
        return code

    def _ended(self, job: Job, code: int, stop: Flag) -> Ended:
        if code in job.ok_codes:
            return Ended(State.DONE, code)
        return Ended(State.INTERRUPTED if stop.is_set() else State.FAILED, code)


def _show(said: IO[str], echo: IO[str] | None) -> None:
    if echo is not None:
        echo.write(said.read())
        echo.flush()


def _stopped(child: subprocess.Popen[bytes], stop_s: float) -> int:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    try:
        return child.wait(stop_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        return child.wait()


def _process(pid: int) -> Process:
    try:
        return Process(pid=pid, created=psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        # It ended at once.
        return Process(pid=pid, created=0.0)


def _found(process: Process) -> psutil.Process | None:
    """The live process, None when it is gone or its number belongs to another."""
    try:
        found = psutil.Process(process.pid)
        if abs(found.create_time() - process.created) > _SAME_S:
            return None
        return None if found.status() == psutil.STATUS_ZOMBIE else found
    except psutil.NoSuchProcess:
        return None


def _alive(process: Process) -> bool:
    return _found(process) is not None


def _end(process: Process, stop_s: float) -> None:
    """End a run's process, which leads a group of its own, and the rest of the group."""
    found = _found(process)
    if found is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        psutil.wait_procs([found], timeout=stop_s)
