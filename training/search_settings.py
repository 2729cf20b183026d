"""The section `training` of foresend.yaml: how long settings are searched for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from feature_repo.config import Config, keys_of
from feature_repo.errors import ConfigError

SECTION: Final = "training"
LONGEST_MINUTES: Final = 24 * 60

_FIELDS: Final = ("search_minutes",)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """What the section declares."""

    #: Minutes a training searches for better settings of the trees; 0: the defaults are used.
    search_minutes: float = 0.0


def training_settings_of(config: Config) -> TrainingSettings:
    """The section as declared; defaults where it says nothing.

    Raises:
        ConfigError: a key or a value cannot be used.
    """
    declared = config.sections.get(SECTION)
    if declared is None:
        return TrainingSettings()
    declared = keys_of(declared, f"{config.path}: {SECTION}", _FIELDS)
    value = declared.get("search_minutes", 0.0)
    if not _is_minutes(value):
        message = (
            f"{config.path}: {SECTION}.search_minutes has value {value!r}; "
            f"use a number of minutes from 0 to {LONGEST_MINUTES}."
        )
        raise ConfigError(message)
    return TrainingSettings(search_minutes=float(value))


def _is_minutes(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and 0 <= value <= LONGEST_MINUTES
