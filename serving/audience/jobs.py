"""Jobs that score a whole segment, as folders: {home}/audience/<id>/.

    customers.parquet   whom to score, in order
    job.json            what is asked, and how far it is; written by the runner after the submit
    cancel              its presence asks the runner to stop
    scores.parquet      the answers; appears when all of them are there

Server processes submit, tell and cancel; one runner of the installation works. A job whose runner
died is found running without one, and is begun again.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.errors import ForesendError, StoreUnavailable
from feature_repo.sole import write_whole

CUSTOMER: Final = "customer_id"
SCORES: Final = "scores.parquet"
_CUSTOMERS: Final = "customers.parquet"
_JOB: Final = "job.json"
_CANCEL: Final = "cancel"
_DRAFT_S: Final = 3600.0
"""A submit that has not become a job by then was cut off."""

_ID: Final = re.compile(r"[0-9a-f]{32}")


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED: Final = frozenset({State.DONE, State.FAILED, State.CANCELLED})


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job, as it is told."""

    id: str
    target: str
    #: When the messages go out, ISO 8601; None: when the job begins.
    send_at: str | None
    #: Name of the key that submitted it.
    submitted_by: str
    submitted_at: str
    state: State = State.QUEUED
    started_at: str | None = None
    finished_at: str | None = None
    #: Customers to score, and those scored so far.
    customers: int = 0
    scored: int = 0
    #: Runners that began it; one that keeps killing them is given up.
    attempts: int = 0
    #: Version that scores; None until it begins.
    model_version: str | None = None
    #: Customers by tier, and by cause of a degraded answer.
    tiers: Mapping[str, int] = {}
    degraded: Mapping[str, int] = {}
    #: Rows whose id cannot be one; they are in the result with `problem`.
    unusable: int = 0
    #: Why it failed.
    problem: str | None = None


class TooManyJobs(ForesendError):
    """As many jobs wait as are allowed to."""


@dataclass(frozen=True, slots=True)
class JobStore:
    """The jobs of one installation."""

    root: Path
    clock: Callable[[], datetime]
    #: Jobs that may wait or run at once.
    most_waiting: int = 20

    def submit(self, target: str, customers: pa.Table, *, send_at: datetime | None, by: str) -> Job:
        """A new job for the ids in the column `customer_id`.

        Raises:
            TooManyJobs: `most_waiting` jobs have not ended yet.
            StoreUnavailable: the disk does not take it.
        """
        waiting = sum(job.state not in ENDED for job in self.all())
        if waiting >= self.most_waiting:
            message = f"{waiting} jobs wait or run; more are not taken. Cancel one, or wait."
            raise TooManyJobs(message)
        job = Job(
            id=uuid.uuid4().hex,
            target=target,
            send_at=None if send_at is None else send_at.isoformat(),
            submitted_by=by,
            submitted_at=self._now(),
            customers=customers.num_rows,
        )
        fresh = self.root / f".{job.id}"
        try:
            fresh.mkdir(parents=True)
            pq.write_table(customers, fresh / _CUSTOMERS, compression="zstd")
            write_whole(fresh / _JOB, msgspec.json.encode(job).decode())
            fresh.rename(self.root / job.id)
        except OSError as exc:
            shutil.rmtree(fresh, ignore_errors=True)
            message = f"The job cannot be kept in {self.root}: {exc}. Free disk, then submit again."
            raise StoreUnavailable(message) from exc
        return job

    def get(self, job_id: str) -> Job | None:
        """A job, None when there is none of that id."""
        if _ID.fullmatch(job_id) is None:
            return None
        folder = self.root / job_id
        try:
            job = msgspec.json.decode((folder / _JOB).read_bytes(), type=Job)
        except (OSError, msgspec.DecodeError):
            return None
        if job.state is State.QUEUED and (folder / _CANCEL).exists():
            return msgspec.structs.replace(job, state=State.CANCELLED)
        return job

    def all(self) -> list[Job]:
        """Every job, the newest first."""
        names = (path.name for path in self.root.glob("[0-9a-f]*")) if self.root.exists() else ()
        jobs = (self.get(name) for name in names)
        return sorted(
            (j for j in jobs if j is not None), key=lambda j: j.submitted_at, reverse=True
        )

    def next(self) -> Job | None:
        """The oldest job that is to be worked on: queued, or left behind by a runner that died."""
        waiting = [job for job in self.all() if job.state not in ENDED]
        return waiting[-1] if waiting else None

    def cancel(self, job_id: str) -> Job | None:
        """Ask for a job's end; one that has ended is deleted, result and all. None: no such job."""
        job = self.get(job_id)
        if job is None:
            return None
        folder = self.root / job_id
        if job.state in ENDED:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            (folder / _CANCEL).touch()
        return self.get(job_id) or job

    def is_cancelled(self, job: Job) -> bool:
        """Whether somebody asked for its end."""
        return (self.root / job.id / _CANCEL).exists()

    def update(self, job: Job) -> Job:
        """Keep how far a job is; for its runner."""
        write_whole(self.root / job.id / _JOB, msgspec.json.encode(job).decode())
        return job

    def ended(self, job: Job, state: State, problem: str | None = None) -> Job:
        """Keep that a job has ended."""
        done = msgspec.structs.replace(job, state=state, finished_at=self._now(), problem=problem)
        return self.update(done)

    def started(self, job: Job, model_version: str) -> Job:
        """Keep that a job begins, from its first customer."""
        begun = msgspec.structs.replace(
            job,
            state=State.RUNNING,
            started_at=self._now(),
            scored=0,
            unusable=0,
            attempts=job.attempts + 1,
            model_version=model_version,
        )
        return self.update(begun)

    def customers(self, job: Job, rows: int) -> Iterator[list[str | None]]:
        """The ids of a job, `rows` at a time."""
        with pq.ParquetFile(self.root / job.id / _CUSTOMERS) as file:
            for batch in file.iter_batches(batch_size=rows, columns=[CUSTOMER]):
                yield batch.column(0).to_pylist()

    def result(self, job: Job) -> Path:
        """Where the answers are, or will be."""
        return self.root / job.id / SCORES

    def forget_old(self, keep: timedelta) -> int:
        """Delete jobs that ended longer ago, and what a submit left unfinished; their number."""
        oldest = (self.clock() - keep).isoformat()
        gone = [job.id for job in self.all() if job.state in ENDED and _end_of(job) < oldest]
        gone += [draft.name for draft in self.root.glob(".*") if self._is_left_behind(draft)]
        for name in gone:
            shutil.rmtree(self.root / name, ignore_errors=True)
        return len(gone)

    def _is_left_behind(self, draft: Path) -> bool:
        try:
            written = draft.stat().st_mtime
        except OSError:
            return False
        return self.clock().timestamp() - written > _DRAFT_S

    def _now(self) -> str:
        return self.clock().isoformat(timespec="milliseconds")


def _end_of(job: Job) -> str:
    """When a job ended; one that was cancelled before it began has no end of its own."""
    return job.finished_at or job.submitted_at
