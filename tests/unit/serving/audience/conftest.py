"""Jobs over a fake store and a fixed model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from serving.audience.engine import Served
from serving.audience.jobs import CUSTOMER, JobStore
from serving.audience.work import Worker
from serving.scoring import Rules
from serving.served import FixedModel
from serving.store import MemoryStore, Stored
from serving.tiers import TierPolicy
from tests.unit.serving.conftest import NOW, TARGET, Clock

POLICY = TierPolicy(TARGET, "1", "run-1", ("low", "high"), (0.2,), "ada", NOW, None)


@dataclass
class Reader:
    """Reads a fake store in this thread; fails as often as it is told to."""

    store: MemoryStore
    failures: int = 0

    def read(self, customer_ids: Sequence[str]) -> Stored:
        self.store.down = "away" if self.failures else None
        self.failures = max(0, self.failures - 1)
        return asyncio.run(self.store.read(customer_ids))


@dataclass
class Segment:
    """A store of jobs and what works them off."""

    root: Path
    clock: Clock = field(default_factory=Clock)
    store: MemoryStore = field(default_factory=lambda: MemoryStore(through=NOW))
    model: FixedModel = field(default_factory=FixedModel)
    policy: TierPolicy | None = POLICY
    slept: list[float] = field(default_factory=list)
    stopping: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.reader = Reader(self.store)
        self.jobs = JobStore(self.root, self.clock, most_waiting=3)

    def know(self, *customers: str) -> None:
        for customer in customers:
            self.store.customers[customer] = {
                "last_event_at": (NOW - timedelta(hours=2)).timestamp(),
                "opens_30d": 3.0,
                "country": "FR",
            }

    def worker(self) -> Worker:
        return Worker(
            jobs=self.jobs,
            reader=self.reader,
            served=lambda _: Served(self.model, "1", self.policy),
            rules=Rules(26 * 3600.0, 5.0),
            clock=self.clock,
            stopping=self.stopping,
            sleep=self.slept.append,
        )


def ids(*customers: str | None) -> pa.Table:
    return pa.table({CUSTOMER: pa.array(customers, pa.string())})


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    made = Segment(tmp_path / "audience")
    made.know("ann", "bob")
    return made
