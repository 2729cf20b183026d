"""What the scoring API may be set to, read once from the environment and passed on."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from feature_repo.environment import from_environment

_PREFIX = "FORESEND_SERVING_"


class ServingSettings(BaseSettings):
    """Limits and rhythms; every field is `FORESEND_SERVING_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore")

    access_log_share: float = Field(
        0.01, ge=0, le=1, description="Share of good and quick answers that are logged."
    )
    access_log_slow_s: float = Field(
        0.05, gt=0, description="Answers that took longer are logged all."
    )
    audience_jobs: int = Field(20, ge=1, description="Segment jobs that may wait or run.")
    audience_keep_days: float = Field(7.0, gt=0, description="Segment results are kept so long.")
    audience_max_bytes: int = Field(
        256 << 20, ge=1024, description="Largest body of a segment that is submitted."
    )
    max_body_bytes: int = Field(1 << 20, ge=1024, description="Largest request body.")
    redis_connect_timeout_s: float = Field(0.05, gt=0, description="To open a connection.")
    redis_read_timeout_s: float = Field(0.013, gt=0, description="For one read of Redis.")
    redis_bulk_timeout_s: float = Field(0.5, gt=0, description="For one read of a bulk request.")
    mlflow_webhook_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="Signs MLflow's deliveries to /v1/hooks/mlflow; unset: nothing answers there.",
    )
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
    farewell_s: float = Field(
        1.0, ge=0, description="Then, until connections that are idle are closed."
    )
    gate_singles: int = Field(64, ge=1, description="Small score requests in hand, a worker.")
    gate_bulk: int = Field(4, ge=1, description="Larger score requests in hand, a worker.")
    keep_alive_s: float = Field(75.0, ge=1, description="How long idle connections are kept.")
    receive_s: float = Field(30.0, gt=0, description="For a request to come completely.")
    shutdown_s: float = Field(10.0, gt=0, description="For requests in flight at a stop.")
    workers: int = Field(1, ge=1, le=64, description="Processes that answer, one a core.")


class TracingSettings(BaseSettings):
    """Where traces go; every field is `FORESEND_OTEL_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="FORESEND_OTEL_", frozen=True, extra="ignore")

    endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^/?#]+",
        description="Base address of an OTLP receiver over HTTP; unset: nothing is traced.",
    )
    share: float = Field(
        0.01, ge=0, le=1, description="Share of requests traced, of those that come untraced."
    )


def load_serving_settings() -> ServingSettings:
    """Settings from the environment.

    Raises:
        ConfigError: a variable has a value that cannot be used.
    """
    return from_environment(ServingSettings)


def load_tracing_settings() -> TracingSettings:
    """Settings from the environment.

    Raises:
        ConfigError: a variable has a value that cannot be used.
    """
    return from_environment(TracingSettings)
