"""The ingest application over a real raw store, and stand-ins for what is behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from feature_repo.api_keys import KeyFile
from feature_repo.errors import QueueFull, StoreUnavailable
from feature_repo.event import Event, EventType
from feature_repo.ingest.app import IngestPorts, create_app
from feature_repo.ingest.backpressure import Pressure
from feature_repo.ingest.confirmation import Confirmations
from feature_repo.ingest.inbound import Inbound
from feature_repo.ingest.mapper import Mapper, MapperPorts
from feature_repo.ingest.metrics import Metrics
from feature_repo.ingest.raw.cursors import Cursors
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.errors import (
    AuthenticationFailed,
    UnknownProvider,
    UnreadableBody,
    VerificationUnavailable,
)
from feature_repo.stream.envelope import unpack
from feature_repo.stream.memory import MemoryPublisher, MemoryQueue
from feature_repo.stream.port import GROUPS, INGEST, Backlog

AT = datetime(2026, 11, 24, 7, 30, tzinfo=UTC)
SIGNED = {"X-Signature": "good"}


class MemoryInbound:
    """Providers whose deliveries are JSON arrays of strings, signed by one header."""

    providers = frozenset({"canonical", "sendgrid", "ses"})

    def find(self, name: str) -> str | None:
        return name if name in self.providers else None

    def verify(self, provider: str, body: bytes, headers: Mapping[str, str]) -> None:
        if headers.get("x-broken"):
            raise LookupError
        if headers.get("x-unverifiable"):
            message = "The certificate cannot be had."
            raise VerificationUnavailable(message)
        if provider != "canonical" and headers.get("x-signature") != "good":
            message = "The signature is not good."
            raise AuthenticationFailed(message)
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            message = "The body is not JSON."
            raise UnreadableBody(message) from exc

    def waits(self, provider: str) -> bool:
        return provider == "ses"

    def parse(self, record: RawRecord) -> Sequence[Event | Rejected]:
        found = orjson.loads(record.body)
        if found == "unreadable":
            message = "Nothing can be made of it."
            raise UnreadableBody(message)
        if found == "mistake":
            raise RecursionError
        if found == "stranger":
            raise UnknownProvider
        return [self._one(record, index, word) for index, word in enumerate(found)]

    def _one(self, record: RawRecord, index: int, word: str) -> Event | Rejected:
        if word == "odd":
            return rejected(record, index)
        return Event(
            event_id=f"sendgrid:{word}",
            type=EventType.OPENED,
            customer_id=f"c-{word}",
            event_time=record.received_time,
            received_time=record.received_time,
            provider=record.provider,
            raw_ref=f"{record.ref}#{index}",
        )


def rejected(record: RawRecord, index: int) -> Rejected:
    return Rejected(
        provider=record.provider,
        reason="odd",
        detail="It is odd.",
        path="",
        index=index,
        provider_event=None,
        payload=b'"odd"',
        received_time=record.received_time,
        raw_ref=f"{record.ref}#{index}",
        schema_fingerprint=None,
        mapping_version=None,
    )


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.now.timestamp()


class TroubledQueue(MemoryQueue):
    """The queue in memory; it can be away or full."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.is_away = False
        self.full = 0.0
        #: Take what is published, and lose the confirmation.
        self.is_deaf = False

    def publisher(self, name: str = INGEST) -> TroubledPublisher:
        return TroubledPublisher(self, name)

    def fullness(self) -> float:
        self.answer()
        return self.full

    def backlog(self, group: str) -> Backlog:
        self.answer()
        return super().backlog(group)

    def answer(self) -> None:
        if self.is_away:
            message = "The queue does not answer."
            raise StoreUnavailable(message)

    def consume(self) -> None:
        for group in GROUPS:
            consumer = self.consumer(group, "test")
            consumer.ack([delivery.id for delivery in consumer.take(10_000, 0)])

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery, _ in self.messages.values()]

    def words(self) -> list[str]:
        events = [event for body in self.bodies for event in unpack(body)]
        return [event.event_id.partition(":")[2] for event in events]


class TroubledPublisher(MemoryPublisher):
    """Publishes unless its queue is in trouble."""

    def __init__(self, queue: TroubledQueue, name: str) -> None:
        super().__init__(queue, name)
        self.queue = queue

    def publish(
        self,
        bodies: Sequence[bytes],
        *,
        mark: str | None = None,
        after: str | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        self.queue.answer()
        if bodies and self.queue.full >= 1.0:
            message = "The queue is full."
            raise QueueFull(message)
        super().publish(bodies, mark=mark, after=after)
        if self.queue.is_deaf:
            message = "The queue did not answer in time."
            raise StoreUnavailable(message)

    def check(self, *, after: str | None) -> None:
        self.queue.answer()
        super().check(after=after)


class MemoryQuarantine:
    """Keeps what is rejected, once."""

    def __init__(self) -> None:
        self.kept: list[Rejected] = []
        self.is_away = False

    def add(self, rejected: Sequence[Rejected]) -> int:
        if self.is_away:
            message = "The disk is full."
            raise StoreUnavailable(message)
        new = [one for one in rejected if one not in self.kept]
        self.kept.extend(new)
        return len(new)


@dataclass
class Ingest:
    """One ingest application and everything around it."""

    folder: Path
    settings: IngestSettings
    keys: KeyFile | None = None
    inbound: Inbound = field(default_factory=lambda: MemoryInbound())
    visited: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.queue = TroubledQueue(self.clock)
        self.quarantine = MemoryQuarantine()
        self.metrics = Metrics()
        self.cursors = Cursors(self.folder / "state")
        self.store = RawStore(
            self.folder / "raw",
            window_s=0.0,
            segment_bytes=self.settings.segment_bytes,
            measure=self.metrics.raw.committed,
        )
        self.store.folder.mkdir(parents=True, exist_ok=True)
        self.mapper = Mapper(
            MapperPorts(
                store=self.store,
                cursors=self.cursors,
                inbound=self.inbound,
                queue=self.queue,
                quarantine=self.quarantine,
                metrics=self.metrics.mapper,
                clock=self.clock,
                monotonic=self.clock.monotonic,
            ),
            self.settings,
        )
        self.pressure = Pressure(
            self.queue, self.store.folder, self.mapper.backlog_bytes, self.settings, self.metrics
        )
        self.confirmations = Confirmations(self.settings.ses_topic_arns, self.visited.append)
        ports = IngestPorts(
            inbound=self.inbound,
            store=self.store,
            mapper=self.mapper,
            pressure=self.pressure,
            confirmations=self.confirmations,
            keys=self.keys,
            metrics=self.metrics,
            clock=self.clock,
            close=self.queue.close,
        )
        self.app = create_app(ports, self.settings)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as client:
            yield client

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **request)

        return asyncio.run(once())

    def post(self, provider: str, content: Any, **request: Any) -> httpx.Response:
        request.setdefault("headers", SIGNED)
        return self.ask("POST", f"/ingest/{provider}", content=content, **request)

    def landed(self) -> list[bytes]:
        return [record.body for _, record in self.store.records()]

    def map_all(self) -> None:
        while self.mapper.step():
            pass

    def settle(self) -> None:
        """Look at the queue now, and twice more an hour later each."""
        self.mapper.settle()
        for _ in range(2):
            self.clock.now += timedelta(hours=1)
            self.mapper.settle()

    def close(self) -> None:
        self.store.close()
        self.store.abandon()


@pytest.fixture
def make_ingest(tmp_path: Path) -> Iterator[Callable[..., Ingest]]:
    """Makes an application: `make_ingest(keys=..., max_body_bytes=...)`."""
    made: list[Ingest] = []

    def make(*, keys: KeyFile | None = None, folder: str = "home", **settings: Any) -> Ingest:
        # The tests' machine may have less free disk than an installation keeps.
        chosen = IngestSettings(**{"min_free_bytes": 0, **settings})
        made.append(Ingest(tmp_path / folder, chosen, keys))
        return made[-1]

    yield make
    for ingest in made:
        ingest.close()


@pytest.fixture
def ingest(make_ingest: Callable[..., Ingest]) -> Ingest:
    """An application with the settings as they come, and small bodies."""
    return make_ingest(max_body_bytes=100_000)
