"""A declaration in YAML, with errors that name the file and the place."""

from __future__ import annotations

from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from feature_repo.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


def read_yaml(model: type[M], source: str, origin: str) -> M:
    """The declaration in a text; `origin` names it in errors.

    Raises:
        ConfigError: it is not YAML, or not a valid declaration.
    """
    try:
        return model.model_validate(yaml.safe_load(source))
    except yaml.YAMLError as exc:
        message = f"Mapping {origin} is not YAML: {' '.join(str(exc).split())}."
        raise ConfigError(message) from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top"
        message = f"Mapping {origin}, {where}: {first['msg'].removeprefix('Value error, ')}."
        raise ConfigError(message) from exc
