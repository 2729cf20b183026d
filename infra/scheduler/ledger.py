"""What ran and what is still due, in one small SQLite file: it outlives every process."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from feature_repo.settings import Settings

FILE: Final = "schedule.db"
KEPT_RUNS: Final = 200
"""Runs kept per job; with older ones their log files go."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class State(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    DONE = "done"  #: ended with a code that means so
    FAILED = "failed"  #: ended with another code
    INTERRUPTED = "interrupted"  #: stopped or killed with whoever ran it


class By(StrEnum):
    """Who started a run."""

    CLOCK = "clock"
    HAND = "hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process; `created` (epoch seconds) tells it from a later one with its number."""

    pid: int
    created: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job."""

    id: int
    job: str
    by: By
    #: The time it was due; of a run by hand, when it began.
    due: datetime
    started: datetime
    ended: datetime | None
    state: State
    exit_code: int | None
    log: Path
    owner: Process
    child: Process | None

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return None if self.ended is None else (self.ended - self.started).total_seconds()


class Ledger:
    """The file of one installation. Any number of readers; each write is a transaction."""

    def __init__(self, settings: Settings) -> None:
        settings.state_path.mkdir(parents=True, exist_ok=True)
        self._path = settings.state_path / FILE
        with self._open() as con:
            con.executescript(_SCHEMA)

    def covered(self, job: str, now: datetime) -> datetime:
        """Up to when nothing of the job is due any more; a job not seen before begins `now`."""
        with self._open() as con:
            con.execute(
                "INSERT OR IGNORE INTO jobs (name, first_seen, covered) VALUES (?, ?, ?)",
                (job, _us(now), _us(now)),
            )
            ((covered,),) = con.execute("SELECT covered FROM jobs WHERE name = ?", (job,))
        return _time(covered)

    def cover(self, job: str, until: datetime) -> None:
        """Nothing up to `until` is due any more."""
        with self._open() as con:
            con.execute(
                "UPDATE jobs SET covered = max(covered, ?) WHERE name = ?", (_us(until), job)
            )

    def begin(self, job: str, by: By, due: datetime, now: datetime, log: Path, me: Process) -> int:
        """Note that a run begins; its number."""
        with self._open() as con:
            done = con.execute(
                "INSERT INTO runs (job, started_by, due, started, state, log, owner_pid, "
                "owner_created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (job, by, _us(due), _us(now), State.RUNNING, str(log), me.pid, me.created),
            )
            assert done.lastrowid is not None
            return done.lastrowid

    def started(self, run: int, child: Process) -> None:
        """Note the process that does the work of a run."""
        with self._open() as con:
            con.execute(
                "UPDATE runs SET child_pid = ?, child_created = ? WHERE id = ?",
                (child.pid, child.created, run),
            )

    def end(self, run: int, state: State, exit_code: int | None, now: datetime) -> None:
        """Note how a run ended."""
        with self._open() as con:
            con.execute(
                "UPDATE runs SET state = ?, exit_code = ?, ended = ? WHERE id = ?",
                (state, exit_code, _us(now), run),
            )

    def trim(self, job: str) -> None:
        """Forget what is older than KEPT_RUNS runs, and delete its log files."""
        with self._open() as con:
            old = con.execute(
                "DELETE FROM runs WHERE job = ? AND state != ? AND id NOT IN "
                "(SELECT id FROM runs WHERE job = ? ORDER BY id DESC LIMIT ?) RETURNING log",
                (job, State.RUNNING, job, KEPT_RUNS),
            ).fetchall()
        for (log,) in old:
            Path(log).unlink(missing_ok=True)

    def runs(
        self, job: str | None = None, *, state: State | None = None, limit: int = KEPT_RUNS
    ) -> list[Run]:
        """Runs, newest first."""
        with self._open() as con:
            found = con.execute(
                "SELECT * FROM runs WHERE (:job IS NULL OR job = :job) "
                "AND (:state IS NULL OR state = :state) ORDER BY id DESC LIMIT :limit",
                {"job": job, "state": state, "limit": limit},
            ).fetchall()
        return [_run(row) for row in found]

    def interruptions(self, job: str, due: datetime) -> int:
        """How often the run that was due then was interrupted."""
        with self._open() as con:
            ((count,),) = con.execute(
                "SELECT count(*) FROM runs WHERE job = ? AND due = ? AND state = ?",
                (job, _us(due), State.INTERRUPTED),
            )
        return int(count)

    def last_success(self, job: str) -> datetime | None:
        """When a run last ended well."""
        with self._open() as con:
            ((ended,),) = con.execute(
                "SELECT max(ended) FROM runs WHERE job = ? AND state = ?", (job, State.DONE)
            )
        return None if ended is None else _time(ended)

    def first_seen(self, job: str) -> datetime | None:
        """When a scheduler first knew the job."""
        with self._open() as con:
            found = con.execute("SELECT first_seen FROM jobs WHERE name = ?", (job,)).fetchone()
        return None if found is None else _time(found[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        con = sqlite3.connect(self._path, timeout=30.0)
        con.row_factory = sqlite3.Row
        try:
            with con:
                yield con
        finally:
            con.close()


def _us(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _time(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def _run(row: Any) -> Run:
    child = row["child_pid"]
    return Run(
        id=row["id"],
        job=row["job"],
        by=By(row["started_by"]),
        due=_time(row["due"]),
        started=_time(row["started"]),
        ended=None if row["ended"] is None else _time(row["ended"]),
        state=State(row["state"]),
        exit_code=row["exit_code"],
        log=Path(row["log"]),
        owner=Process(pid=row["owner_pid"], created=row["owner_created"]),
        child=None if child is None else Process(pid=child, created=row["child_created"]),
    )


# Times in microseconds since the Unix epoch. Journal in WAL mode: readers never wait.
_SCHEMA: Final = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS jobs (
  name TEXT PRIMARY KEY, first_seen INTEGER NOT NULL, covered INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, started_by TEXT NOT NULL,
  due INTEGER NOT NULL, started INTEGER NOT NULL, ended INTEGER, state TEXT NOT NULL,
  exit_code INTEGER, log TEXT NOT NULL, owner_pid INTEGER NOT NULL, owner_created REAL NOT NULL,
  child_pid INTEGER, child_created REAL
);
CREATE INDEX IF NOT EXISTS runs_of_job ON runs (job, id);
"""
