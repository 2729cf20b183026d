"""What the sources of readings may be set to, read once from the environment and passed on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from feature_repo.environment import from_environment


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class PostmasterSettings(BaseSettings):
    """Google Postmaster Tools; every field is `FORESEND_POSTMASTER_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix="FORESEND_POSTMASTER_", frozen=True, extra="ignore"
    )

    service_account: Path | None = Field(
        None, description="Key file (JSON) of a service account that is a user of the domains."
    )
    subject: str | None = Field(
        None, description="Person the service account acts for, with domain-wide delegation."
    )
    client_id: str | None = Field(None, description="OAuth client of a person's agreement.")
    client_secret: SecretStr | None = Field(None, description="Secret of that client.")
    refresh_token: SecretStr | None = Field(None, description="What the agreement gave.")
    domains: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Domains to ask about; empty: all verified ones of the account."
    )
    repull_days: int = Field(7, ge=1, le=60, description="Days that each pull asks for again.")
    compliance: bool = Field(True, description="Take a daily snapshot of the sender requirements.")
    feedback_loops: bool = Field(False, description="Ask for feedback loop ids and their rates.")
    requests_per_s: float = Field(1.0, gt=0, description="Requests on average.")
    timeout_s: float = Field(30.0, gt=0, description="For one answer.")

    _lists = field_validator("domains", mode="before")(_split)

    @property
    def is_set(self) -> bool:
        """Whether there are credentials."""
        person = (self.client_id, self.client_secret, self.refresh_token)
        return self.service_account is not None or any(part is not None for part in person)


class SndsSettings(BaseSettings):
    """Microsoft SNDS; every field is `FORESEND_SNDS_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="FORESEND_SNDS_", frozen=True, extra="ignore")

    key: SecretStr | None = Field(None, description="Key of SNDS' automated data access.")
    repull_days: int = Field(7, ge=1, le=60, description="Days that each pull asks for again.")
    requests_per_s: float = Field(0.5, gt=0, description="Requests on average.")
    timeout_s: float = Field(60.0, gt=0, description="For one answer.")

    @property
    def is_set(self) -> bool:
        """Whether there is a key."""
        return self.key is not None


class MailboxSettings(BaseSettings):
    """Asking DNS who runs the mailboxes of a domain; `FORESEND_MAILBOXES_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="FORESEND_MAILBOXES_", frozen=True, extra="ignore")

    dns: bool = Field(False, description="Whether `foresend deliverability mailboxes` may ask DNS.")
    nameservers: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="IP addresses (or IPv4:port) of DNS servers; empty: the system's."
    )
    timeout_s: float = Field(3.0, gt=0, description="For one domain, all tries included.")
    ttl_days: float = Field(30.0, gt=0, description="An answer is used this long.")
    missing_ttl_hours: float = Field(24.0, gt=0, description="The same for: no such domain.")

    _lists = field_validator("nameservers", mode="before")(_split)


def load_postmaster_settings() -> PostmasterSettings:
    """Settings from the environment.

    Raises:
        ConfigError: a variable has a value that cannot be used.
    """
    return from_environment(PostmasterSettings)


def load_snds_settings() -> SndsSettings:
    """Settings from the environment.

    Raises:
        ConfigError: a variable has a value that cannot be used.
    """
    return from_environment(SndsSettings)


def load_mailbox_settings() -> MailboxSettings:
    """Settings from the environment.

    Raises:
        ConfigError: a variable has a value that cannot be used.
    """
    return from_environment(MailboxSettings)
