"""Names, options and errors that all parts of the Kafka adapter share."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from feature_repo.errors import StoreUnavailable
from feature_repo.stream.port import EVENTS, Stream
from feature_repo.stream.settings import QueueSettings

ANSWER_S: Final = 10.0
"""How long a broker may take over one request."""

GROUP_HEADER: Final = "group"
"""On a message that is for one group only, and on dead letters."""

REASON_HEADER: Final = "reason"


@dataclass(frozen=True, slots=True)
class Record:
    """One record to produce; a body of None erases what has the same key."""

    topic: str
    body: bytes | None
    key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the brokers are and what the topics and groups are called."""

    brokers: str
    project: str
    settings: QueueSettings
    stream: Stream = EVENTS

    @property
    def events(self) -> str:
        """Topic of messages."""
        return f"foresend.{self.project}.{self.stream.name}"

    @property
    def dead(self) -> str:
        """Topic of dead letters."""
        if self.stream == EVENTS:
            return f"foresend.{self.project}.dead"
        return f"{self.events}.dead"

    def group_id(self, group: str) -> str:
        """Kafka's name of a group."""
        return f"foresend.{self.project}.{group}"

    def options(self, **more: str | int | bool) -> dict[str, Any]:
        """Options of librdkafka; its own words are written with underscores here."""
        ours = {name.replace("_", "."): value for name, value in more.items()}
        return {
            "bootstrap.servers": self.brokers,
            "logger": logging.getLogger("librdkafka"),
            **ours,
            **self.settings.kafka_options,
        }

    def sender(self) -> Sender:
        """A producer."""
        return Sender(self)

    @contextmanager
    def answers(self) -> Iterator[None]:
        """Tell what goes wrong inside as StoreUnavailable."""
        try:
            yield
        except KafkaException as exc:
            raise self.unavailable(exc) from exc

    def unavailable(self, cause: object) -> StoreUnavailable:
        """The error that says that Kafka does not do what is asked."""
        return StoreUnavailable(
            f"Kafka at {self.brokers} does not answer ({cause}). Check FORESEND_KAFKA_BROKERS, "
            f"and that topics {self.events} and {self.dead} exist."
        )


class Sender:
    """Produces records and waits until all replicas in sync have them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._producer = self._make()

    def send(self, records: Sequence[Record]) -> None:
        """Return when all records are there.

        Raises:
            StoreUnavailable: some are not.
        """
        errors: list[Any] = []
        unsent = len(records)

        def delivered(error: Any, _: Any) -> None:
            nonlocal unsent
            unsent -= 1
            if error is not None:
                errors.append(error)

        with self._cluster.answers():
            for record in records:
                self._produce(record, delivered)
            # Every record is reported on by then: delivered, or given up after message.timeout.
            self._producer.flush(ANSWER_S * 2)
        if unsent or errors:
            self._start_over()
            raise self._cluster.unavailable(errors[0] if errors else f"{unsent} unconfirmed")

    def ping(self) -> None:
        """Ask the brokers for what they have."""
        with self._cluster.answers():
            self._producer.list_topics(timeout=ANSWER_S)

    def close(self) -> None:
        """Give up what is under way."""
        self._producer.purge()
        self._producer.flush(1.0)

    def _produce(self, record: Record, delivered: Any) -> None:
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    value=record.body,
                    key=record.key,
                    headers=list(record.headers),
                    on_delivery=delivered,
                )
            except BufferError:
                self._producer.poll(0.1)  # full of what was not sent yet
            else:
                self._producer.poll(0)
                return

    def _start_over(self) -> None:
        """A producer with an error that is fatal to idempotence never works again."""
        self.close()
        self._producer = self._make()

    def _make(self) -> Any:
        return Producer(
            self._cluster.options(
                enable_idempotence=True,
                acks="all",
                linger_ms=5,
                message_timeout_ms=int(ANSWER_S * 1000),
                topic_metadata_refresh_interval_ms=30_000,
            )
        )
