"""Works a job off: chunk by chunk, its answers into one Parquet file that appears whole."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from feature_repo.errors import ForesendError, StoreUnavailable
from serving.audience.engine import (
    ROWS,
    SCHEMA,
    AudienceScorer,
    Counts,
    Reader,
    Served,
    parse_send_at,
)
from serving.audience.jobs import Job, JobStore, State
from serving.scoring import Rules

_TOLD_EVERY_S: Final = 0.5
_STORE_PATIENCE_S: Final = 60.0
_MOST_ATTEMPTS: Final = 3
_UNUSABLE: Final = (OSError, ValueError, pa.ArrowException, MemoryError)
"""What the files of a job may break it with: it fails then, and the next one is worked on."""

log = structlog.get_logger()


class Stopped(ForesendError):
    """The runner was asked to stop; the job is begun again by the next one."""


@dataclass
class Worker:
    """What a runner needs to work jobs off."""

    jobs: JobStore
    reader: Reader
    #: The model and the tiers of a target as they are served now.
    served: Callable[[str], Served]
    rules: Rules
    clock: Callable[[], datetime]
    stopping: Callable[[], bool]
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    #: Called with the job after each chunk.
    told: Callable[[Job], None] = lambda _: None
    _told_at: float = field(default=0.0, init=False)

    def work(self, job: Job) -> Job:
        """Work a job off, whatever becomes of it; how it ended.

        Raises:
            Stopped: the runner is to stop first; the job stays as it is.
        """
        if job.attempts >= _MOST_ATTEMPTS:
            problem = f"{job.attempts} runners died over it; see their logs. Submit it in parts."
            return self.jobs.ended(job, State.FAILED, problem)
        try:
            served = self.served(job.target)
            done = self._scored(self.jobs.started(job, served.version), served)
        except Stopped:
            # As it was: only runners that died count as attempts.
            self.jobs.update(job)
            raise
        except (ForesendError, *_UNUSABLE) as exc:
            log.error("audience_failed", job=job.id, reason=str(exc))
            return self.jobs.ended(job, State.FAILED, str(exc))
        log.info("audience_ended", job=job.id, state=done.state.value, scored=done.scored)
        return done

    def _scored(self, job: Job, served: Served) -> Job:
        now = self.clock()
        send_at = parse_send_at(job.send_at, now)
        scorer = AudienceScorer(served, self.reader, self.rules, send_at=send_at, now=now)
        place = self.jobs.result(job)
        fresh = place.with_name(f".{place.name}.new")
        try:
            with pq.ParquetWriter(fresh, SCHEMA, compression="zstd") as writer:
                for told in self._chunks(job, scorer, writer):
                    job = told
                    if self.jobs.is_cancelled(job):
                        return self.jobs.ended(job, State.CANCELLED)
            fresh.replace(place)
        finally:
            fresh.unlink(missing_ok=True)
        return self.jobs.ended(job, State.DONE)

    def _chunks(self, job: Job, scorer: AudienceScorer, writer: pq.ParquetWriter) -> Iterator[Job]:
        """The job after each chunk, told now and then."""
        tiers, degraded = Counter[str](), Counter[str]()
        for customers in self.jobs.customers(job, ROWS):
            if self.stopping():
                message = f"Job {job.id} stops after {job.scored} customers and is begun again."
                raise Stopped(message)
            rows, counts = self._patiently(scorer, customers)
            writer.write_batch(rows)
            tiers.update(counts.tiers)
            degraded.update(counts.degraded)
            job = msgspec.structs.replace(
                job,
                scored=job.scored + len(customers),
                unusable=job.unusable + counts.unusable,
                tiers=dict(tiers),
                degraded=dict(degraded),
            )
            self._tell(job)
            yield job

    def _patiently(
        self, scorer: AudienceScorer, customers: list[str | None]
    ) -> tuple[pa.RecordBatch, Counts]:
        """A chunk's rows; a store that is away for a minute only delays them."""
        began = self.monotonic()
        while True:
            try:
                return scorer.score(customers)
            except StoreUnavailable:
                if self.stopping():
                    message = "It stops while Redis does not answer; the job is begun again."
                    raise Stopped(message) from None
                if self.monotonic() - began > _STORE_PATIENCE_S:
                    raise
                self.sleep(1.0)

    def _tell(self, job: Job) -> None:
        self.told(job)
        now = self.monotonic()
        if now - self._told_at >= _TOLD_EVERY_S:
            self._told_at = now
            self.jobs.update(job)
