"""What an installation sets, read once from the environment and passed on."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from feature_repo.environment import from_environment


class Settings(BaseSettings):
    """Places and addresses; every field is `FORESEND_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="FORESEND_", frozen=True, extra="ignore")

    home: Path = Field(Path(".foresend"), description="Folder of all data of this installation.")
    config: Path | None = Field(None, description="foresend.yaml used instead of the shipped one.")
    redis_url: SecretStr | None = Field(
        None, description="redis://... of the online store; unset: the local stack's Redis."
    )
    mlflow_uri: str | None = Field(
        None, description="MLflow tracking URI; unset: the local stack's server, else local files."
    )
    registry_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL of the Feast registry; unset: SQLite under home."
    )
    queue: str = Field(
        "redis", pattern="^(redis|kafka)$", description="Queue of events: redis or kafka."
    )
    kafka_brokers: str | None = Field(
        None, description="host:port,... of the Kafka brokers when the queue is kafka."
    )
    duckdb_memory_limit: str = Field("2GB", description="DuckDB's memory limit; more is spilled.")
    duckdb_threads: int = Field(2, ge=1, description="DuckDB's threads.")
    project: str = Field("foresend", pattern=r"^[a-z][a-z0-9_]*$", description="Feast project.")

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url and not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            message = "it must begin with redis://, rediss:// or unix://"
            raise ValueError(message)
        return url

    @property
    def log_path(self) -> Path:
        """Delta table of the event log."""
        return self.home.absolute() / "log"

    def feature_path(self, view: str) -> Path:
        """Delta table of one feature view."""
        return self.home.absolute() / "features" / view

    @property
    def raw_path(self) -> Path:
        """Folder of the raw store: what providers sent, byte for byte."""
        return self.home.absolute() / "raw"

    @property
    def mappings_path(self) -> Path:
        """Folder of this installation's own mapping versions, beside the shipped ones."""
        return self.home.absolute() / "mappings"

    @property
    def deliverability_path(self) -> Path:
        """Folder of placement readings and of the estimates made of them."""
        return self.home.absolute() / "deliverability"

    @property
    def receipts_path(self) -> Path:
        """Folder of the receipts of erasures."""
        return self.home.absolute() / "receipts"

    @property
    def scratch_path(self) -> Path:
        """Folder for files that may be deleted at any time, e.g. DuckDB's spill."""
        return self.home.absolute() / "tmp"

    @property
    def quarantine_path(self) -> Path:
        """Folder of rows that could not become events."""
        return self.home.absolute() / "quarantine"

    @property
    def predictions_path(self) -> Path:
        """Folder of the prediction log."""
        return self.home.absolute() / "predictions"

    @property
    def audience_path(self) -> Path:
        """Folder of the jobs that score whole segments."""
        return self.home.absolute() / "audience"

    @property
    def reports_path(self) -> Path:
        """Folder of drift reports."""
        return self.home.absolute() / "reports"

    @property
    def state_path(self) -> Path:
        """Folder of small state files: stack, builds, keys."""
        return self.home.absolute() / "state"

    @property
    def resolved_registry_url(self) -> str:
        """SQLAlchemy URL of the Feast registry."""
        if self.registry_url is not None:
            return self.registry_url.get_secret_value()
        return f"sqlite:///{self.home.absolute() / 'state' / 'registry.db'}"


def load_settings() -> Settings:
    """Settings from the environment.

    Raises:
        ConfigError: a variable has a value that cannot be used.
    """
    return from_environment(Settings)
