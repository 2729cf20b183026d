"""How the queue is bounded and how patient its consumers are."""

from __future__ import annotations

from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from feature_repo.environment import from_environment

MIB: Final = 1024 * 1024


class QueueSettings(BaseSettings):
    """Bounds and patience; every field is `FORESEND_QUEUE_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="FORESEND_QUEUE_", frozen=True, extra="ignore")

    stream_bytes: int = Field(
        512 * MIB, ge=1, description="Bytes of messages in Redis from which on none is taken."
    )
    memory_share: float = Field(
        0.85,
        gt=0,
        le=1,
        description="Share of Redis' maxmemory (of its machine when that is 0) for everything.",
    )
    kafka_backlog: int = Field(
        1_000_000, ge=1, description="Messages a Kafka group may be behind before none is taken."
    )
    kafka_session_s: float = Field(
        10.0, gt=0, description="Seconds after which Kafka takes a silent consumer for dead."
    )
    kafka_options: dict[str, str] = Field(
        default_factory=dict,
        description="Options of librdkafka as JSON, such as security.protocol and sasl.*.",
    )
    claim_after_s: float = Field(
        60.0, gt=0, description="Seconds without a word before others get a consumer's messages."
    )
    forget_consumer_after_s: float = Field(
        3600.0,
        gt=0,
        description="Seconds after which an idle consumer without messages is removed.",
    )
    most_tries: int = Field(
        5, ge=1, description="Tries of an event, and deliveries of a message, before it is buried."
    )
    archive_events: int = Field(20_000, ge=1, description="Events of one append to the log.")
    archive_linger_s: float = Field(
        1.0, ge=0, description="Seconds the archive waits for an append to become larger."
    )
    online_events: int = Field(2_000, ge=1, description="Events folded at a time.")
    online_linger_s: float = Field(
        0.0, ge=0, description="Seconds the online group waits for a batch to become larger."
    )


def load_queue_settings() -> QueueSettings:
    """Settings from the environment.

    Raises:
        ConfigError: a variable has a value that cannot be used.
    """
    return from_environment(QueueSettings)
