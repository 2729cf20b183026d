"""What the scoring API may be set to, read once from the environment and passed on."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from feature_repo.environment import from_environment

_PREFIX = "FORESEND_SERVING_"


class ServingSettings(BaseSettings):
    """Limits and rhythms; every field is `FORESEND_SERVING_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore")

    max_body_bytes: int = Field(1 << 20, ge=1024, description="Largest request body.")
    redis_connect_timeout_s: float = Field(0.05, gt=0, description="To open a connection.")
    redis_read_timeout_s: float = Field(0.1, gt=0, description="To wait for Redis to say anything.")
    redis_connections: int = Field(32, ge=1, description="Connections to Redis at most.")
    registry_poll_s: float = Field(3.0, gt=0, description="Between two looks at the aliases.")
    registry_timeout_s: float = Field(5.0, gt=0, description="For one request to MLflow.")
    stale_after_s: float = Field(
        26 * 3600.0, gt=0, description="Answers are `stale_features` when the store is older."
    )
    clock_skew_s: float = Field(
        5.0, ge=0, description="How far features may be ahead of send_at without being flagged."
    )
    last_scores: int = Field(50_000, ge=0, description="Scores kept for when Redis is away.")
    prediction_flush_s: float = Field(5.0, gt=0, description="Longest wait of a log row.")
    prediction_flush_rows: int = Field(20_000, ge=1, description="Rows that are written at once.")
    prediction_queue_rows: int = Field(200_000, ge=1, description="More waiting rows are dropped.")
    drain_s: float = Field(
        0.0, ge=0, description="Between SIGTERM (not ready) and refusing connections."
    )
    shutdown_s: float = Field(10.0, gt=0, description="For requests in flight at a stop.")


def load_serving_settings() -> ServingSettings:
    """Settings from the environment.

    Raises:
        ConfigError: a variable has a value that cannot be used.
    """
    return from_environment(ServingSettings)
