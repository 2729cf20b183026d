"""What ingestion may be set to, read once from the environment and passed on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from feature_repo.environment import from_environment

_PREFIX = "FORESEND_INGEST_"


class IngestSettings(BaseSettings):
    """Limits, identities and secrets; every field is `FORESEND_INGEST_<NAME>` in the environment.

    Lists are written with commas: `FORESEND_INGEST_CUSTOMER_KEYS=customer_id,contact`.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore")

    max_body_bytes: int = Field(
        10_000_000, ge=1024, description="Largest body, as sent and after decompression."
    )
    max_expansion: int = Field(
        200, ge=1, description="A compressed body may grow by this factor, or to 1 MB."
    )
    body_timeout_s: float = Field(20.0, gt=0, description="For a request to send its whole body.")
    verify_in_thread_bytes: int = Field(
        256_000, ge=0, description="Bodies from this size on are verified off the event loop."
    )
    max_in_flight: int = Field(
        256, ge=1, description="Requests being worked on; more are answered 503."
    )
    max_in_flight_bytes: int = Field(
        128_000_000, ge=1, description="Body bytes held in memory at once; more are answered 503."
    )
    sync_window_s: float = Field(
        0.001, ge=0, description="How long a record may wait to share an fsync with others."
    )
    segment_bytes: int = Field(64_000_000, ge=4096, description="A raw segment ends at this size.")
    segment_age_s: float = Field(3600.0, gt=0, description="A raw segment ends at this age.")
    raw_retention_days: float = Field(
        400.0, gt=0, description="Mapped raw segments older than this are deleted."
    )
    max_backlog_bytes: int = Field(
        2_000_000_000, ge=1, description="Landed and not mapped; 503 above it."
    )
    min_free_bytes: int = Field(
        500_000_000, ge=0, description="Free bytes the raw store's disk must keep; 503 below it."
    )
    queue_full_at: float = Field(
        0.95, gt=0, description="Fullness of the queue from which requests are answered 503."
    )
    pressure_poll_s: float = Field(0.5, gt=0, description="Between two looks at the pressure.")
    retry_after_s: int = Field(10, ge=1, description="Retry-After of a 503.")
    map_bytes: int = Field(
        1_000_000, ge=1, description="Raw bytes that are mapped and published at once."
    )
    map_poll_s: float = Field(
        0.5, gt=0, description="The mapper looks for records of other processes this often."
    )
    shutdown_s: float = Field(10.0, gt=0, description="For requests in flight at a stop.")

    customer_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        ("customer_id", "user_id", "userId"),
        description="Names of the custom argument that carries the customer's id, first wins.",
    )
    identities: Path | None = Field(
        None, description="CSV `email_sha256,customer_id` for events that carry an address only."
    )
    machines_path: Path | None = Field(
        None, description="Folder of own machine rules and address lists; unset: the shipped ones."
    )

    replay_window_s: float = Field(
        300.0, gt=0, description="Age of a signed time of a provider that signs at every try."
    )
    retry_window_s: float = Field(
        93_600.0, gt=0, description="The same where retries may carry the first try's signature."
    )
    sendgrid_public_key: SecretStr | None = Field(None, description="Key of the event webhook.")
    ses_topic_arns: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="SNS topics that may deliver and are subscribed to."
    )
    mailgun_signing_key: SecretStr | None = Field(None, description="HTTP webhook signing key.")
    postmark_secret: SecretStr | None = Field(None, description="user:password, or a token.")
    mautic_secret: SecretStr | None = Field(None, description="Secret of the webhook.")
    brevo_secret: SecretStr | None = Field(None, description="user:password, or a token.")
    sparkpost_secret: SecretStr | None = Field(None, description="user:password, or a token.")
    mandrill_webhook_key: SecretStr | None = Field(None, description="Key of the webhook.")
    mandrill_url: SecretStr | None = Field(
        None, description="URL of the webhook exactly as Mandrill has it; it is signed too."
    )
    customerio_signing_key: SecretStr | None = Field(
        None, description="Signing key of the reporting webhook."
    )
    klaviyo_secret: SecretStr | None = Field(None, description="Secret key of the webhook.")
    segment_shared_secret: SecretStr | None = Field(None, description="Secret of the destination.")
    rudderstack_secret: SecretStr | None = Field(None, description="user:password, or a token.")
    canonical_keys: Path | None = Field(
        None, description="File of API keys of `foresend keys`; scope ingest may send events."
    )
    secrets: dict[str, SecretStr] = Field(
        {}, description="JSON of further secrets by name, for providers without a field here."
    )
    insecure_local: bool = Field(
        False, description="Take deliveries of providers without a secret. For trials only."
    )

    @field_validator("customer_keys", "ses_topic_arns", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value


def load_ingest_settings() -> IngestSettings:
    """Settings from the environment.

    Raises:
        ConfigError: a variable has a value that cannot be used.
    """
    return from_environment(IngestSettings)
