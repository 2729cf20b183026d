"""The queue an installation has chosen."""

from __future__ import annotations

from feature_repo import addresses
from feature_repo.errors import ConfigError
from feature_repo.settings import Settings
from feature_repo.stream.kafka import KafkaQueue
from feature_repo.stream.port import EVENTS, Queue, Stream
from feature_repo.stream.redis_streams import RedisQueue
from feature_repo.stream.settings import QueueSettings, load_queue_settings


def open_queue(
    settings: Settings, queue_settings: QueueSettings | None = None, *, stream: Stream = EVENTS
) -> Queue:
    """The queue of a kind of message; nothing is asked of it yet, so it may be down.

    Raises:
        ConfigError: Kafka is chosen and no broker is named.
        StoreUnavailable: no address of Redis is known.
    """
    bounds = queue_settings or load_queue_settings()
    if settings.queue == "redis":
        return RedisQueue(addresses.redis_url(settings), settings.project, bounds, stream)
    if not settings.kafka_brokers:
        message = "FORESEND_QUEUE is 'kafka' and FORESEND_KAFKA_BROKERS is not set: host:port,..."
        raise ConfigError(message)
    return KafkaQueue(settings.kafka_brokers, settings.project, bounds, stream)
