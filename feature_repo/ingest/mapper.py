"""From raw records to the queue: a thread that follows the raw store of its process.

A cursor moves only when everything before it is in quarantine or in the queue, so a kill at any
moment repeats a little and loses nothing. A queue that is away or full is waited for: deliveries
are landed meanwhile, until the backlog is as large as it may be.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol, TypeVar

import structlog

from feature_repo.errors import StoreUnavailable
from feature_repo.ingest.batch import Batch
from feature_repo.ingest.inbound import Inbound
from feature_repo.ingest.metrics import MapperMetrics
from feature_repo.ingest.outlet import Outlet
from feature_repo.ingest.raw.cursors import Cursors
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.stream.envelope import pack
from feature_repo.stream.port import GROUPS, INGEST, Queue

_ADOPT_EVERY_S: Final = 5.0
_SETTLE_EVERY_S: Final = 5.0
_PRUNE_EVERY_S: Final = 3600.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 5.0

T = TypeVar("T")

log = structlog.get_logger()


class Keeper(Protocol):
    """The part of the quarantine that is used here."""

    def add(self, rejected: Sequence[Rejected]) -> int:
        """Keep these for good; the same ones again add nothing.

        Raises:
            StoreUnavailable: nothing was kept.
        """


class Stopped(Exception):
    """The mapper is to end before a step succeeded; the cursor has not moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapperPorts:
    """What the mapper talks to."""

    store: RawStore
    cursors: Cursors
    inbound: Inbound
    queue: Queue
    quarantine: Keeper
    metrics: MapperMetrics
    clock: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic


class Mapper:
    """Maps what this process landed, and what processes that died had left."""

    def __init__(self, ports: MapperPorts, settings: IngestSettings) -> None:
        self._ports = ports
        self._settings = settings
        self._stop = threading.Event()
        self._finishing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mapper", daemon=True)
        self._chores: Mapping[str, tuple[float, Callable[[], None]]] = {
            "rotate": (settings.map_poll_s, ports.store.rotate),
            "adopt": (_ADOPT_EVERY_S, self.adopt),
            "settle": (_SETTLE_EVERY_S, self.settle),
            "prune": (_PRUNE_EVERY_S, self.prune),
        }
        self._due: dict[str, float] = {}
        self._outlets: dict[str, Outlet] = {}
        self._oldest: datetime | None = None
        #: What holds the mapper up, in words; None: nothing.
        self.problem: str | None = None
        ports.metrics.follow(lambda: float(self.backlog_bytes()), self.lag_s)

    def start(self) -> None:
        """Begin to map."""
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether it began and does not map any more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def finish(self, timeout_s: float) -> None:
        """Map what is landed, for so long at most, and end."""
        self._finishing.set()
        self._ports.store.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def backlog_bytes(self) -> int:
        """Bytes that are landed and not mapped, in the segments of this process."""
        store, cursors = self._ports.store, self._ports.cursors
        return sum(
            max(0, store.size(segment) - cursors.get(segment).offset) for segment in store.owned()
        )

    def lag_s(self) -> float:
        """Age of the oldest record that is known not to be mapped."""
        oldest = self._oldest
        return 0.0 if oldest is None else (self._ports.clock() - oldest).total_seconds()

    def step(self) -> bool:
        """Map one batch of one segment; False when there was nothing to map."""
        for segment in self._ports.store.owned():
            outlet = self._outlet(segment)
            if outlet.is_drained:
                continue
            started = time.perf_counter()
            batch = self._retried("read", partial(self._read, outlet))
            if batch.records == 0:
                continue
            self._deliver(outlet, batch)
            self._ports.metrics.batch.observe(time.perf_counter() - started)
            self._ports.metrics.mapped(batch.counts, batch.rejected)
            return True
        return False

    def adopt(self) -> None:
        """Claim what processes that died had left to be mapped."""
        for segment in self._ports.store.adopt(self._ports.cursors.is_done):
            log.info("raw_segment_adopted", segment=segment)

    def prune(self) -> None:
        """Delete segments past their retention."""
        keep = timedelta(days=self._settings.raw_retention_days)
        done = self._ports.cursors.is_done
        for segment in self._ports.store.prune(self._ports.clock() - keep, done):
            self._ports.cursors.forget(segment)
            log.info("raw_segment_pruned", segment=segment)

    def settle(self) -> None:
        """Let go of segments that have left the queue; go back in those that it forgot.

        Raises:
            StoreUnavailable: the queue does not answer.
        """
        queue, now = self._ports.queue, self._ports.monotonic()
        oldest = max(queue.backlog(group).oldest_age_s for group in GROUPS)
        for segment, outlet in list(self._outlets.items()):
            outlet.check()
            if outlet.settle(oldest, now):
                outlet.finish()
                outlet.close()
                del self._outlets[segment]
                self._ports.store.release(segment)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._keep_house()
                if self.step():
                    continue
                self._oldest = None
                if self._finishing.is_set():
                    return
                self._ports.store.wait(self._settings.map_poll_s)
        except Stopped:
            log.warning("mapper_stopped_early", backlog_bytes=self.backlog_bytes())

    def _keep_house(self) -> None:
        """Do what is due; what fails is tried again at its next time and holds nothing up."""
        now = self._ports.monotonic()
        for name, (every_s, act) in self._chores.items():
            if now < self._due.get(name, now):
                continue
            self._due[name] = now + every_s
            try:
                act()
            except (StoreUnavailable, OSError) as exc:
                log.warning("chore_failed", chore=name, problem=str(exc))

    def _outlet(self, segment: str) -> Outlet:
        outlet = self._outlets.get(segment)
        if outlet is None:
            publisher = self._ports.queue.publisher(f"{INGEST}:{segment}")
            outlet = Outlet(segment, publisher, self._ports.cursors, now=self._ports.monotonic())
            self._outlets[segment] = outlet
        return outlet

    def _read(self, outlet: Outlet) -> Batch:
        store = self._ports.store
        # Asked before reading: what is appended afterwards is found by the next batch.
        is_ended = not store.is_open(outlet.segment)
        batch = Batch(outlet.offset)
        size = 0
        for offset, record in store.records_of(outlet.segment, batch.offset):
            if batch.records == 0:
                self._oldest = record.received_time
            batch.add(record, self._ports.inbound)
            batch.offset = offset
            size += len(record.body)
            if size >= self._settings.map_bytes:
                return batch
        outlet.is_drained = is_ended and batch.records == 0
        return batch

    def _deliver(self, outlet: Outlet, batch: Batch) -> None:
        # First, so that what the queue has marked as published is in quarantine as well.
        if batch.rejected:
            self._retried("quarantine", lambda: self._ports.quarantine.add(batch.rejected))
        bodies = list(pack(batch.events))
        self._retried("publish", lambda: outlet.publish(bodies, batch.offset))

    def _retried(self, step: str, act: Callable[[], T]) -> T:
        """Do it until it succeeds.

        Raises:
            Stopped: the mapper is to end.
        """
        pause = _FIRST_PAUSE_S
        while True:
            try:
                done = act()
            except (StoreUnavailable, OSError) as exc:
                if self.problem is None:
                    log.warning("mapper_waits", step=step, problem=str(exc))
                self.problem = f"The step {step!r} of the mapper fails: {exc}"
                self._ports.metrics.retries.labels(step).inc()
                if self._stop.wait(pause):
                    raise Stopped from exc
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                if self.problem is not None:
                    log.info("mapper_goes_on", step=step)
                    self.problem = None
                return done
