"""Settings read from the environment, with errors that name the variable."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from feature_repo.errors import ConfigError

S = TypeVar("S", bound=BaseSettings)


def from_environment(settings: type[S]) -> S:
    """Read a settings class from the environment.

    Raises:
        ConfigError: a variable has a value that cannot be used. Secrets are not shown.
    """
    try:
        return settings()
    except ValidationError as exc:
        first = exc.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        name = f"{settings.model_config.get('env_prefix', '')}{field}".upper()
        annotation = str(settings.model_fields[field].annotation) if field else ""
        shown = "a value" if "Secret" in annotation else f"value {first.get('input')!r}"
        message = f"{name} has {shown} that cannot be used: {first['msg']}."
        raise ConfigError(message) from exc
