"""The section `routing` of foresend.yaml, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from feature_repo.config import Config, keys_of
from feature_repo.errors import ConfigError
from feature_repo.targets import suggestion
from serving.routing.conditions import CONDITIONS, Form, Limit
from serving.routing.message import ActionKind

_KEYS: Final = (
    *("enabled", "targets", "score_change", "valid_hours", "holdout"),
    *("frequency_caps", "rules", "connectors"),
)
_RULE_KEYS: Final = ("name", "when", "do", "until", "days", "least_share", "without_placement")
BEST_HOUR: Final = "best_hour"
RESERVED: Final = ("holdout", "frequency_cap", "unsubscribed", "default", "unknown_customer")
"""Names of decisions that no rule of the file makes."""

_LEAST_SHARE: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of the file: the first one all of whose conditions are met decides."""

    name: str
    kind: ActionKind
    when: Mapping[str, Limit]
    #: Days to hold; None with `hold`: until the customer's best hour.
    hold_days: float | None = None
    #: A best hour counts as one from this share of the customer's engagement.
    least_share: float = _LEAST_SHARE
    #: Whether `sunset` applies also where it is not known whether mail reaches the inbox.
    without_placement: bool = False


@dataclass(frozen=True, slots=True)
class Cap:
    """No more than so many sends in any so many days."""

    sends: int
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingSettings:
    """What an installation wants done with scores."""

    enabled: bool = False
    #: Targets whose changes are told.
    targets: tuple[str, ...] = ()
    #: Targets that may be asked for.
    all_targets: tuple[str, ...] = ()
    #: Least change of a score that is told; a change of tier always is.
    score_change: float = 0.05
    #: How long a message is worth acting on.
    valid_hours: float = 24.0
    holdout_share: float = 0.0
    holdout_salt: str = "1"
    caps: tuple[Cap, ...] = ()
    rules: tuple[Rule, ...] = ()


def routing_settings(config: Config) -> RoutingSettings:
    """The section `routing` of the file; without one, nothing is routed.

    Raises:
        ConfigError: it says something that cannot be used.
    """
    where = f"{config.path}: routing"
    held = keys_of(config.sections.get("routing", {}), where, _KEYS)
    holdout = keys_of(held.get("holdout", {}), f"{where}.holdout", ("share", "salt"))
    return RoutingSettings(
        enabled=_flag(held.get("enabled", False), f"{where}.enabled"),
        targets=_targets(config, held.get("targets"), f"{where}.targets"),
        all_targets=tuple(config.targets),
        score_change=_number(held.get("score_change", 0.05), f"{where}.score_change", most=1.0),
        valid_hours=_positive(held.get("valid_hours", 24.0), f"{where}.valid_hours"),
        holdout_share=_number(holdout.get("share", 0.0), f"{where}.holdout.share", most=1.0),
        holdout_salt=str(holdout.get("salt", "1")),
        caps=tuple(
            _cap(one, f"{where}.frequency_caps[{i}]")
            for i, one in enumerate(_items(held, "frequency_caps", where))
        ),
        rules=_rules(_items(held, "rules", where), f"{where}.rules"),
    )


def _targets(config: Config, value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return tuple(config.targets)
    names = tuple(sorted(_names(value, where)))
    for name in names:
        if name not in config.targets:
            known = ", ".join(config.targets)
            message = (
                f"{where}: {name} is no target{suggestion(name, config.targets)}; use {known}."
            )
            raise ConfigError(message)
    return names


def _rules(items: Sequence[object], where: str) -> tuple[Rule, ...]:
    rules = tuple(_rule(one, f"{where}[{i}]") for i, one in enumerate(items))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1 or name in RESERVED:
            message = f"{where}: name {name!r} is taken; each rule needs a name of its own."
            raise ConfigError(message)
    return rules


def _rule(value: object, where: str) -> Rule:
    held = keys_of(value, where, _RULE_KEYS)
    name = held.get("name")
    if not isinstance(name, str) or not name:
        message = f"{where}.name has value {name!r}; give the rule a name, such as gone_cold."
        raise ConfigError(message)
    when = keys_of(held.get("when", {}), f"{where}.when", tuple(CONDITIONS))
    limits = {
        word: _limit(CONDITIONS[word].form, limit, f"{where}.when.{word}")
        for word, limit in when.items()
    }
    kind = _kind(held.get("do"), f"{where}.do")
    if kind is ActionKind.SUNSET and not {"silent_days", "seen_sends"} <= limits.keys():
        message = (
            f"{where}: do: sunset needs silent_days and seen_sends in when: only who saw mail for "
            "long and did not care may be given up, for example {silent_days: 180, seen_sends: 5}."
        )
        raise ConfigError(message)
    hold_days, share = _hold(kind, held, where)
    return Rule(
        name=name,
        kind=kind,
        when=limits,
        hold_days=hold_days,
        least_share=share,
        without_placement=_without_placement(kind, held, where),
    )


def _without_placement(kind: ActionKind, held: Mapping[str, Any], where: str) -> bool:
    if kind is not ActionKind.SUNSET and "without_placement" in held:
        message = f"{where}: without_placement belongs to do: sunset only."
        raise ConfigError(message)
    return _flag(held.get("without_placement", False), f"{where}.without_placement")


def _hold(kind: ActionKind, held: Mapping[str, Any], where: str) -> tuple[float | None, float]:
    """Days to hold (None: until the best hour), and from which share an hour is the best."""
    given = [key for key in ("until", "days") if key in held]
    if kind is not ActionKind.HOLD:
        if given or "least_share" in held:
            message = f"{where}: until, days and least_share belong to do: hold only."
            raise ConfigError(message)
        return None, _LEAST_SHARE
    if len(given) != 1 or held.get("until", BEST_HOUR) != BEST_HOUR:
        message = f"{where}: do: hold needs either until: {BEST_HOUR} or days: N."
        raise ConfigError(message)
    share = _number(held.get("least_share", _LEAST_SHARE), f"{where}.least_share", most=1.0)
    return (None if "until" in held else _positive(held["days"], f"{where}.days")), share


def _kind(value: object, where: str) -> ActionKind:
    kinds = [kind.value for kind in ActionKind]
    if value not in kinds:
        message = f"{where} has value {value!r}; use one of {', '.join(kinds)}."
        raise ConfigError(message)
    return ActionKind(value)


def _limit(form: Form, value: object, where: str) -> Limit:
    if form is Form.FLAG:
        return _flag(value, where)
    if form is Form.NAMES:
        return _names(value, where)
    return _number(value, where, most=1.0 if form is Form.SHARE else None)


def _cap(value: object, where: str) -> Cap:
    held = keys_of(value, where, ("sends", "days"))
    return Cap(
        _whole(held.get("sends"), f"{where}.sends"), _whole(held.get("days"), f"{where}.days")
    )


def _items(held: Mapping[str, Any], key: str, where: str) -> Sequence[object]:
    value = held.get(key, [])
    if not isinstance(value, list):
        message = f"{where}.{key} has value {value!r}; it must be a list."
        raise ConfigError(message)
    return value


def _names(value: object, where: str) -> frozenset[str]:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        message = f"{where} has value {value!r}; it must be {Form.NAMES.value}."
        raise ConfigError(message)
    return frozenset(names)


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        message = f"{where} has value {value!r}; it must be {Form.FLAG.value}."
        raise ConfigError(message)
    return value


def _number(value: object, where: str, *, most: float | None = None) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0.0 <= value < float("inf") or (most is not None and value > most):  # type: ignore[operator] # it is a number there
        form = Form.NUMBER if most is None else Form.SHARE
        message = f"{where} has value {value!r}; it must be {form.value}."
        raise ConfigError(message)
    return float(value)  # type: ignore[arg-type] # checked above


def _positive(value: object, where: str) -> float:
    number = _number(value, where)
    if number == 0.0:
        message = f"{where} has value {value!r}; it must be above 0."
        raise ConfigError(message)
    return number


def _whole(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        message = f"{where} has value {value!r}; it must be a whole number from 1 on."
        raise ConfigError(message)
    return value
