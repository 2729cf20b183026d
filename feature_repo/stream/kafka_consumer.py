"""A member of a group on Kafka.

Kafka keeps one position per partition, so only what is acknowledged without a gap is committed.
What a living consumer does not acknowledge it gets again from memory, after the same time as on
Redis and without a seek: a seek back at once is a hot loop, and drops what was fetched.

How often a message was handed out is counted in memory. Across deaths the commit carries it: each
assignment notes at the position that work on it began once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from feature_repo.stream.kafka_client import ANSWER_S, GROUP_HEADER, Cluster
from feature_repo.stream.port import Delivery

POLL_INTERVAL_S: Final = 600
"""A consumer that neither takes nor keeps for so long is dead to its group."""

_NOT_OURS: Final = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError._NO_OFFSET,
        KafkaError._STATE,
    }
)
"""The partition went to another consumer, which gets the messages again."""


@dataclass
class _Partition:
    """What this consumer has of a partition."""

    #: Times that work began at the first position without getting past it.
    begun: int = 0
    #: Given out and not acknowledged, in order of offsets.
    held: dict[int, Delivery] = field(default_factory=dict)
    #: When each of them was given out or kept last.
    held_since: dict[int, float] = field(default_factory=dict)
    #: After the last that was given out.
    end: int = -1
    committed: int = -1

    @property
    def position(self) -> int:
        """Everything before it is acknowledged."""
        return next(iter(self.held), self.end)


class KafkaConsumer:
    """Reads the topic for a group; see `port.Consumer`."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        name: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._group = group
        self._monotonic = monotonic
        self._partitions: dict[int, _Partition] = {}
        self._stash: list[Any] = []
        self._trouble: Any = None
        options = cluster.options(
            group_id=cluster.group_id(group),
            client_id=name,
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(cluster.settings.kafka_session_s * 1000),
            heartbeat_interval_ms=int(cluster.settings.kafka_session_s * 1000 / 5),
            max_poll_interval_ms=POLL_INTERVAL_S * 1000,
            topic_metadata_refresh_interval_ms=30_000,
            fetch_wait_max_ms=100,
        )
        self._consumer = Consumer(options | {"error_cb": self._noted})
        self._consumer.subscribe(
            [cluster.events],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    def take(self, limit: int, wait_s: float) -> list[Delivery]:
        """Messages of this group; see `port.Consumer.take`."""
        again = self._overdue(limit)
        if again:
            return again
        with self._cluster.answers():
            found, self._stash = self._stash, []
            if not found:
                first = self._consumer.poll(wait_s)
                found = [first] if first is not None else []
            if found and len(found) < limit:
                found += self._consumer.consume(limit - len(found), timeout=0)
        if not found and self._trouble is not None:
            with self._cluster.answers():
                self._consumer.list_topics(self._cluster.events, timeout=ANSWER_S)
            self._trouble = None
        return self._deliveries(found)

    def ack(self, ids: Sequence[str]) -> None:
        """Commit as far as there is no gap."""
        for entry in ids:
            partition, offset = map(int, entry.split(":"))
            state = self._partitions.get(partition)
            if state is not None:
                state.held.pop(offset, None)
                state.held_since.pop(offset, None)
        with self._cluster.answers():
            self._commit_finished()

    def keep(self, ids: Sequence[str]) -> None:
        """Stay in the group without taking anything."""
        now = self._monotonic()
        for entry in ids:
            partition, offset = map(int, entry.split(":"))
            state = self._partitions.get(partition)
            if state is not None and offset in state.held:
                state.held_since[offset] = now
        with self._cluster.answers():
            assigned = self._consumer.assignment()
            self._consumer.pause(assigned)
            found = self._consumer.poll(0)
            if found is not None:
                self._stash.append(found)
            self._consumer.resume(self._consumer.assignment())

    def close(self) -> None:
        """Leave the group."""
        with self._cluster.answers():
            self._commit_finished()
            self._consumer.close()

    def _overdue(self, limit: int) -> list[Delivery]:
        """What was given out so long ago that nobody seems to work on it."""
        before = self._monotonic() - self._cluster.settings.claim_after_s
        again: list[Delivery] = []
        for state in self._partitions.values():
            late = [offset for offset, since in state.held_since.items() if since <= before]
            for offset in late[: limit - len(again)]:
                held = state.held[offset]
                state.held[offset] = replace(held, deliveries=held.deliveries + 1)
                state.held_since[offset] = self._monotonic()
                again.append(state.held[offset])
        return again

    def _deliveries(self, found: Iterable[Any]) -> list[Delivery]:
        taken, idle, errors = [], [], []
        for message in found:
            if message.error() is not None:
                errors.append(message.error())
                continue
            state = self._partitions.get(message.partition())
            if state is None:
                continue  # fetched before the partition went to another consumer
            delivery = _delivery(message, state.begun + 1 if state.end < 0 else 1)
            state.end = message.offset() + 1
            if self._is_for_us(message):
                state.held[message.offset()] = delivery
                state.held_since[message.offset()] = self._monotonic()
                taken.append(delivery)
            else:
                idle.append(delivery.id)
        if idle:
            self.ack(idle)
        # With messages in hand an error can wait: it comes again if it lasts.
        for error in errors if not taken else ():
            self._judge(error)
        return taken

    def _is_for_us(self, message: Any) -> bool:
        only = dict(message.headers() or ()).get(GROUP_HEADER)
        # A body of None is a tombstone, which nobody of ours writes to this topic.
        return message.value() is not None and only in {None, self._group.encode()}

    def _judge(self, error: Any) -> None:
        if error.code() == KafkaError._MAX_POLL_EXCEEDED:
            return  # we were slow; the next poll joins the group again
        raise self._cluster.unavailable(error)

    def _noted(self, error: Any) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN or error.fatal():
            self._trouble = error

    def _assigned(self, consumer: Any, partitions: list[Any]) -> None:
        for found in partitions:
            self._partitions[found.partition] = _Partition()
        try:
            begun = [
                self._begun(consumer, found)
                for found in consumer.committed(partitions, timeout=ANSWER_S)
            ]
            self._commit(begun)
        except KafkaException:
            return  # counts start anew, which only delays a burial

    def _begun(self, consumer: Any, found: Any) -> Any:
        """The position of a partition, with a note that work on it begins once more."""
        state = self._partitions[found.partition]
        if found.offset >= 0:
            state.committed = found.offset
            state.begun = int(found.metadata) if (found.metadata or "").isdigit() else 0
        else:
            state.committed, _ = consumer.get_watermark_offsets(found, timeout=ANSWER_S)
        return self._at(found.partition, state.committed, str(state.begun + 1))

    def _revoked(self, consumer: Any, partitions: list[Any]) -> None:
        """Who hands over in order did not die of what he had: work on it did not begin."""
        try:
            self._commit_finished()
            self._commit(
                [
                    self._at(found.partition, state.committed, str(state.begun))
                    for found in partitions
                    if (state := self._partitions.get(found.partition)) is not None
                    and state.position <= state.committed
                ]
            )
        except KafkaException:
            return  # counted once too often
        finally:
            self._lost(consumer, partitions)

    def _lost(self, _: Any, partitions: list[Any]) -> None:
        for gone in partitions:
            self._partitions.pop(gone.partition, None)

    def _commit_finished(self) -> None:
        ahead = {
            number: state
            for number, state in self._partitions.items()
            if state.position > state.committed
        }
        if self._commit([self._at(number, state.position) for number, state in ahead.items()]):
            for state in ahead.values():
                state.committed, state.begun = state.position, 0

    def _commit(self, positions: list[Any]) -> bool:
        if not positions:
            return True
        try:
            done = self._consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as exc:
            if exc.args[0].code() in _NOT_OURS:
                return False
            raise
        return all(position.error is None for position in done)

    def _at(self, partition: int, offset: int, note: str = "") -> Any:
        return TopicPartition(self._cluster.events, partition, offset, metadata=note)


def _delivery(message: Any, deliveries: int) -> Delivery:
    return Delivery(
        id=f"{message.partition()}:{message.offset()}",
        body=message.value() or b"",
        deliveries=deliveries,
        published_at=datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
    )
