"""Settings read from the environment, with errors that name the variable."""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from feature_repo.errors import ConfigError

S = TypeVar("S", bound=BaseSettings)


def from_environment(settings: type[S]) -> S:
    """Read a settings class from the environment.

    Raises:
        ConfigError: a variable has a value that cannot be used. Secrets are not shown.
    """
    prefix = settings.model_config.get("env_prefix", "")
    try:
        return settings()
    except SettingsError as exc:
        # Text that should be JSON. What was written is not part of the error, and not told.
        found = re.search(r'field "(\w+)"', str(exc))
        name = f"{prefix}{found.group(1) if found else ''}".upper()
        message = f"{name} is no JSON; write it as a JSON object."
        raise ConfigError(message) from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        name = f"{prefix}{field}".upper()
        annotation = str(settings.model_fields[field].annotation) if field else ""
        shown = "a value" if "Secret" in annotation else f"value {first.get('input')!r}"
        message = f"{name} has {shown} that cannot be used: {first['msg']}."
        raise ConfigError(message) from exc
