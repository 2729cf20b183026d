"""The section `serving` of foresend.yaml: how much of the traffic a challenger gets to see."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from feature_repo.config import Config, keys_of
from feature_repo.errors import ConfigError
from feature_repo.targets import suggestion

SECTION: Final = "serving"
_SHARES: Final = ("shadow", "canary")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one target's challenger gets. With neither it is not even loaded."""

    #: Share of customers scored by it beside the champion; only the prediction log sees it.
    shadow: float = 0.1
    #: Share of customers answered by it.
    canary: float = 0.0

    @property
    def is_on(self) -> bool:
        """Whether a challenger is wanted at all."""
        return self.shadow > 0.0 or self.canary > 0.0


def trials_of(config: Config) -> Mapping[str, Trial]:
    """The trial of each target; defaults where the section says nothing.

    Raises:
        ConfigError: a key or a value cannot be used.
    """
    declared = config.sections.get(SECTION)
    where = f"{config.path}: {SECTION}"
    section = keys_of({} if declared is None else declared, where, (*_SHARES, "targets"))
    general = _changed(Trial(), {k: v for k, v in section.items() if k != "targets"}, where)
    own = section.get("targets", {})
    if not isinstance(own, Mapping):
        message = f"{where}.targets has value {own!r}; name targets, each with its shares."
        raise ConfigError(message)
    for name in own:
        if name not in config.targets:
            message = (
                f"{where}.targets.{name} is no target{suggestion(name, config.targets)}; "
                f"{config.path} declares {', '.join(config.targets)}."
            )
            raise ConfigError(message)
    return {
        target: _changed(
            general,
            keys_of(own.get(target, {}), f"{where}.targets.{target}", _SHARES),
            f"{where}.targets.{target}",
        )
        for target in config.targets
    }


def _changed(trial: Trial, shares: Mapping[str, Any], where: str) -> Trial:
    return replace(trial, **{name: _share(value, where, name) for name, value in shares.items()})


def _share(value: Any, where: str, name: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and 0.0 <= value <= 1.0:
        return float(value)
    message = f"{where}.{name} has value {value!r}; use a share of customers from 0 to 1."
    raise ConfigError(message)
