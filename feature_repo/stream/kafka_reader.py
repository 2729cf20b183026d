"""Reads of Kafka that belong to no group member: how far groups are, and dead letters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from feature_repo.stream.kafka_client import ANSWER_S, GROUP_HEADER, REASON_HEADER, Cluster
from feature_repo.stream.port import DeadLetter

_OLDEST_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Lag:
    """Messages a group has not finished, and where they begin."""

    messages: int
    #: Position of each partition that has any.
    positions: tuple[Any, ...]


def lag(cluster: Cluster, reader: Any, group: str) -> Lag:
    """How far a group is behind; `reader` is a consumer of that group that takes nothing."""
    with cluster.answers():
        partitions = _partitions(cluster, reader, cluster.events)
        committed = reader.committed(partitions, timeout=ANSWER_S) if partitions else []
        messages, positions = 0, []
        for found in committed:
            low, high = reader.get_watermark_offsets(found, timeout=ANSWER_S)
            start = max(found.offset, low) if found.offset >= 0 else low
            if high > start:
                messages += high - start
                positions.append(TopicPartition(cluster.events, found.partition, start))
    return Lag(messages, tuple(positions))


def oldest(cluster: Cluster, reader: Any, behind: Lag) -> datetime | None:
    """When the oldest message was published that a group has not finished."""
    found: list[datetime] = []
    with cluster.answers(), _assigned(reader, list(behind.positions)):
        waiting = {position.partition for position in behind.positions}
        until = time.monotonic() + _OLDEST_S
        while waiting and time.monotonic() < until:
            message = reader.poll(0.1)
            if message is not None and message.error() is None:
                if message.partition() in waiting:
                    found.append(_time(message))
                waiting.discard(message.partition())
    return min(found, default=None)


def letters(cluster: Cluster) -> list[DeadLetter]:
    """All dead letters that were not erased since, oldest first."""
    reader = Consumer(
        cluster.options(
            group_id=cluster.group_id("dead-letters"),
            enable_auto_commit=False,
            enable_partition_eof=True,
        )
    )
    try:
        with cluster.answers():
            found = _all_letters(cluster, reader)
    finally:
        reader.close()
    return sorted(found.values(), key=lambda letter: (letter.buried_at, letter.id))


def _all_letters(cluster: Cluster, reader: Any) -> dict[str, DeadLetter]:
    starts = []
    for partition in _partitions(cluster, reader, cluster.dead):
        low, high = reader.get_watermark_offsets(partition, timeout=ANSWER_S)
        if high > low:
            starts.append(TopicPartition(cluster.dead, partition.partition, low))
    found: dict[str, DeadLetter] = {}
    with _assigned(reader, starts):
        unread = {start.partition for start in starts}
        while unread:
            message = reader.poll(ANSWER_S)
            if message is None:
                problem = "dead letters cannot be read to their end"
                raise cluster.unavailable(problem)
            if message.error() is None:
                _take(message, found)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
            else:
                raise cluster.unavailable(message.error())
    return found


def _take(message: Any, found: dict[str, DeadLetter]) -> None:
    key = message.key().decode()
    if message.value() is None:
        found.pop(key, None)
        return
    headers = dict(message.headers() or ())
    found[key] = DeadLetter(
        id=key,
        group=headers[GROUP_HEADER].decode(),
        body=message.value(),
        reason=headers[REASON_HEADER].decode(),
        buried_at=_time(message),
    )


def _partitions(cluster: Cluster, reader: Any, topic: str) -> list[Any]:
    known = reader.list_topics(topic, timeout=ANSWER_S).topics[topic]
    if known.error is not None and known.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise cluster.unavailable(known.error)
    return [TopicPartition(topic, number) for number in known.partitions]


@contextmanager
def _assigned(reader: Any, positions: list[Any]) -> Iterator[None]:
    reader.assign(positions)
    try:
        yield
    finally:
        reader.unassign()


def _time(message: Any) -> datetime:
    return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
