"""The queue on Kafka: a topic of messages, a topic of dead letters, a Kafka group per group.

What `publish` returned for is on all replicas in sync, so nothing is forgotten and marks have
nothing to do: `check` only asks for an answer. Kafka itself drops messages by its retention, read
or not; `fullness` follows the slowest group so that ingestion stops long before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer

from feature_repo.stream import kafka_reader
from feature_repo.stream.kafka_client import (
    GROUP_HEADER,
    REASON_HEADER,
    Cluster,
    Record,
    Sender,
)
from feature_repo.stream.kafka_consumer import KafkaConsumer
from feature_repo.stream.port import EVENTS, INGEST, Backlog, DeadLetter, Stream
from feature_repo.stream.queue_gate import Gate
from feature_repo.stream.settings import QueueSettings


class KafkaQueue:
    """See `port.Queue`."""

    def __init__(
        self,
        brokers: str,
        project: str,
        settings: QueueSettings,
        stream: Stream = EVENTS,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = Cluster(brokers, project, settings, stream)
        self._clock = clock
        self._sender = self._cluster.sender()
        self._readers: dict[str, Any] = {}
        self._reading = Lock()

    def publisher(self, name: str = INGEST) -> KafkaPublisher:
        """A way in."""
        return KafkaPublisher(self._cluster, Gate(self.fullness))

    def consumer(self, group: str, name: str) -> KafkaConsumer:
        """A member of a group."""
        return KafkaConsumer(self._cluster, group, name)

    def backlog(self, group: str) -> Backlog:
        """How far a group is behind; Kafka does not tell what of it is in somebody's hands."""
        with self._reading:
            reader = self._reader(group)
            behind = kafka_reader.lag(self._cluster, reader, group)
            since = kafka_reader.oldest(self._cluster, reader, behind)
        age = 0.0 if since is None else (self._clock() - since).total_seconds()
        return Backlog(messages=behind.messages, oldest_age_s=max(0.0, age), pending=0)

    def fullness(self) -> float:
        """Messages the slowest group is behind, to what it may be.

        0.0 where messages go by their age: Kafka's retention sees to it.
        """
        if self._cluster.stream.keep_s is not None:
            return 0.0
        with self._reading:
            behind = [
                kafka_reader.lag(self._cluster, self._reader(group), group).messages
                for group in self._cluster.stream.groups
            ]
        return max(behind, default=0) / self._cluster.settings.kafka_backlog

    def trim(self) -> int:
        """Nothing to do: the topic's retention is Kafka's."""
        return 0

    def cut(self) -> int:
        """Nothing: the topic's retention decides."""
        return 0

    def bury(self, body: bytes, *, group: str, reason: str) -> None:
        """Produce to the topic of dead letters."""
        headers = ((GROUP_HEADER, group), (REASON_HEADER, reason))
        self._sender.send([Record(self._cluster.dead, body, uuid4().hex, headers)])

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """Dead letters, oldest first."""
        return kafka_reader.letters(self._cluster)[:limit]

    def revive(self, ids: Sequence[str]) -> int:
        """Produce the letters to the topic again, for their group alone; then erase them."""
        found = [letter for letter in kafka_reader.letters(self._cluster) if letter.id in ids]
        self._sender.send(
            [
                Record(self._cluster.events, letter.body, None, ((GROUP_HEADER, letter.group),))
                for letter in found
            ]
        )
        return self._erase(found)

    def discard(self, ids: Sequence[str]) -> int:
        """Erase the letters; a compacted topic gives up their bytes in time."""
        found = [letter for letter in kafka_reader.letters(self._cluster) if letter.id in ids]
        return self._erase(found)

    def ping(self) -> None:
        """Ask for an answer."""
        self._sender.ping()

    def close(self) -> None:
        """Release connections; publishers and consumers have their own."""
        self._sender.close()
        with self._reading:
            for reader in self._readers.values():
                reader.close()
            self._readers.clear()

    def _erase(self, found: Sequence[DeadLetter]) -> int:
        self._sender.send([Record(self._cluster.dead, None, letter.id) for letter in found])
        return len(found)

    def _reader(self, group: str) -> Any:
        if group not in self._readers:
            options = self._cluster.options(
                group_id=self._cluster.group_id(group),
                enable_auto_commit=False,
                # One message of each partition is looked at.
                queued_min_messages=1,
                fetch_wait_max_ms=100,
            )
            self._readers[group] = Consumer(options)
        return self._readers[group]


class KafkaPublisher:
    """Produces messages; see `port.Publisher`."""

    def __init__(self, cluster: Cluster, gate: Gate) -> None:
        self._topic = cluster.events
        self._gate = gate
        self._sender: Sender = cluster.sender()

    def publish(
        self,
        bodies: Sequence[bytes],
        *,
        mark: str | None = None,
        after: str | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        """Produce the bodies and wait for all replicas."""
        if bodies:
            self._gate.admit(sum(map(len, bodies)))
            named: Sequence[str | None] = keys or [None] * len(bodies)
            pairs = zip(bodies, named, strict=True)
            self._sender.send([Record(self._topic, body, key) for body, key in pairs])

    def check(self, *, after: str | None) -> None:
        """Ask for an answer: what is confirmed is not forgotten."""
        self._sender.ping()

    def remark(self, mark: str | None) -> None:
        """Nothing to do."""

    def settled(self) -> str | None:
        """Not known, and not needed."""
        return None

    def close(self) -> None:
        """Release connections."""
        self._sender.close()
