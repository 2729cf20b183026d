"""The section `tiers` of foresend.yaml: how tiers are called, and how many fit in each.

tiers:
  names: [low, medium, high]             # the lowest first
  capacity: {high: 0.1, medium: 0.3}     # shares; the tier left out gets the rest
  method: auto                           # or capacity, or response: never look for valleys
  targets:
    churn_90d: {names: [safe, at risk]}  # in place of the above, for one target
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from feature_repo.config import Config, keys_of
from feature_repo.errors import ConfigError
from feature_repo.targets import suggestion
from serving.tiers import BadPolicy, checked

_KEYS: Final = ("names", "capacity", "method")


class Method(StrEnum):
    """How cuts are found."""

    #: Valleys if they are stable, else the declared capacity, else the response.
    AUTO = "auto"
    CAPACITY = "capacity"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class TierRules:
    """What is declared for one target."""

    #: From the lowest tier to the highest.
    names: tuple[str, ...] = ("low", "medium", "high")
    #: Share of each tier; None: nothing is declared.
    capacity: tuple[float, ...] | None = None
    method: Method = Method.AUTO


_DEFAULT: Final = TierRules()


def tier_rules(config: Config, target: str) -> TierRules:
    """The rules of a target.

    Raises:
        ConfigError: the section cannot be used; the message has file, key, value and cure.
    """
    section = config.sections.get("tiers") or {}
    where = f"{config.path}: tiers"
    overall = keys_of(section, where, (*_KEYS, "targets"))
    own = keys_of(overall.get("targets") or {}, f"{where}.targets", tuple(config.targets))
    for name, raw in own.items():
        # All are read, so that a mistake is found whichever target is trained first.
        _rules(keys_of(raw, f"{where}.targets.{name}", _KEYS), f"{where}.targets.{name}", _DEFAULT)
    base = _rules(overall, where, _DEFAULT)
    if target not in own:
        return base
    return _rules(own[target], f"{where}.targets.{target}", base)


def _rules(raw: Mapping[str, Any], where: str, base: TierRules) -> TierRules:
    names = base.names
    if "names" in raw:
        names = _names(raw["names"], f"{where}.names")
    capacity = base.capacity if names == base.names else None
    if "capacity" in raw:
        capacity = _capacity(raw["capacity"], names, f"{where}.capacity")
    try:
        method = Method(raw.get("method", base.method))
    except ValueError as exc:
        message = (
            f"{where}.method has value {raw['method']!r}{suggestion(raw['method'], list(Method))};"
            f" use {', '.join(Method)}."
        )
        raise ConfigError(message) from exc
    if method is Method.CAPACITY and capacity is None:
        message = f"{where}.method is capacity; declare {where}.capacity too."
        raise ConfigError(message)
    return TierRules(names, capacity, method)


def _names(raw: object, where: str) -> tuple[str, ...]:
    wanted = len(raw) if isinstance(raw, list) else 0
    try:
        names, _ = checked(raw, [(i + 1) / (wanted + 1) for i in range(max(0, wanted - 1))])
    except BadPolicy as exc:
        message = f"{where}: {exc}."
        raise ConfigError(message) from exc
    if len(names) < 2:
        message = f"{where} has value {raw!r}; name two tiers at least, the lowest first."
        raise ConfigError(message)
    return names


def _capacity(raw: object, names: tuple[str, ...], where: str) -> tuple[float, ...]:
    shares = keys_of(raw, where, names)
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            message = f"{where}.{name} has value {share!r}; give a share between 0 and 1."
            raise ConfigError(message)
    rest = 1.0 - sum(shares.values())
    left_out = [name for name in names if name not in shares]
    if len(left_out) > 1 or (left_out and rest <= 0) or (not left_out and abs(rest) > 1e-9):
        message = (
            f"{where} gives {', '.join(shares) or 'nothing'} {sum(shares.values()):g} together; "
            f"give a share to all of {', '.join(names)} but one, which gets the rest."
        )
        raise ConfigError(message)
    return tuple(float(shares.get(name, rest)) for name in names)
