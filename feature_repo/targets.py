"""What is predicted: which events, within which time, asked at which moments, and known when.

A target is a question asked at decision times T of the spine: does one of `events` happen to this
customer in (T, T + horizon]? With `absent`, the label is 1 when none does. The answer is counted
only once it is mature: at T + horizon + grace, the grace being how late such events reach us.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from feature_repo import contract
from feature_repo.event import EventType

AUTO: Final = "auto"
LONGEST: Final = timedelta(days=3650)


class Spine(StrEnum):
    """The moments at which a target is asked."""

    SENT = "sent"  #: each sent message, at its event_time
    WEEKLY = "weekly"  #: Mondays 00:00 UTC, for each customer who is eligible then


HUMAN_ONLY: Final = (EventType.OPENED, EventType.CLICKED)
"""Kinds of which only events made by a person count (event.HUMAN_MACHINES)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One declared target."""

    name: str
    events: tuple[EventType, ...]
    #: Events count in (T, T + horizon], by event_time.
    horizon: timedelta
    spine: Spine
    #: True: the label is 1 when none of the events happens.
    absent: bool = False
    #: None: the measured 99th percentile of (received - event) of `events`.
    grace: timedelta | None = None
    #: Customers are eligible at T with known activity in (T - active_within, T]; None: all are.
    active_within: timedelta | None = None
    #: Decisions begin this long after the first event of the log: before, features know nothing.
    warm_up: timedelta = timedelta(0)
    #: Features and the direction of the score in each, other things equal: 1 rising, -1 falling.
    monotone: tuple[tuple[str, int], ...] = ()

    def to_declaration(self) -> dict[str, Any]:
        """The declaration in full, every default spelled out; `target_from` reads it back."""
        return {
            "event": [kind.value for kind in self.events],
            "horizon_days": self.horizon / _DAY,
            "spine": self.spine.value,
            "absent": self.absent,
            "grace_days": AUTO if self.grace is None else self.grace / _DAY,
            "active_within_days": (
                None if self.active_within is None else self.active_within / _DAY
            ),
            "warm_up_days": self.warm_up / _DAY,
            "monotone": dict(self.monotone),
        }


class BadDeclaration(ValueError):
    """One key of a declaration has a value that cannot be used; the message says which and why."""


FIELDS: Final = (
    "event",
    "horizon_days",
    "spine",
    "absent",
    "grace_days",
    "active_within_days",
    "warm_up_days",
    "monotone",
)

_DAY: Final = timedelta(days=1)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_KINDS: Final = tuple(kind.value for kind in EventType if kind is not EventType.UNKNOWN)
_WEEKLY_ACTIVE_WITHIN: Final = 365
_WARM_UP: Final = {Spine.SENT: 0, Spine.WEEKLY: 28}


def target_from(name: object, declaration: object) -> Target:
    """The target that is declared.

    >>> target_from("click_7d", {"event": "clicked", "horizon_days": 7, "spine": "sent"}).horizon
    datetime.timedelta(days=7)

    Raises:
        BadDeclaration: a key is missing, not known, or has a value that cannot be used.
    """
    checked = _checked_name(name)
    if not isinstance(declaration, Mapping):
        message = (
            f"has value {declaration!r}; write its fields, for example "
            "{event: clicked, horizon_days: 7, spine: sent}"
        )
        raise BadDeclaration(message)
    for key in declaration:
        if key not in FIELDS:
            message = f"{key} is not a field{suggestion(key, FIELDS)}; fields are {_list(FIELDS)}"
            raise BadDeclaration(message)
    for key in ("event", "horizon_days", "spine"):
        if key not in declaration:
            message = f"{key} is missing; event, horizon_days and spine are required"
            raise BadDeclaration(message)
    spine = _spine(declaration["spine"])
    return Target(
        name=checked,
        events=_events(declaration["event"]),
        horizon=_days("horizon_days", declaration["horizon_days"], positive=True),
        spine=spine,
        absent=_absent(declaration.get("absent", False)),
        grace=_grace(declaration.get("grace_days", AUTO)),
        active_within=_active_within(declaration, spine),
        warm_up=_days("warm_up_days", declaration.get("warm_up_days", _WARM_UP[spine])),
        monotone=_monotone(declaration.get("monotone", {})),
    )


def suggestion(value: object, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing when no known word is near."""
    near = difflib.get_close_matches(str(value), list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _checked_name(name: object) -> str:
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    message = (
        f"the name {name!r} cannot be used; use small letters, digits and underscores, "
        "a letter first, at most 63 in all"
    )
    raise BadDeclaration(message)


def _events(value: object) -> tuple[EventType, ...]:
    kinds = value if isinstance(value, list) else [value]
    if not kinds:
        message = f"event has value []; name one or more of {_list(_KINDS)}"
        raise BadDeclaration(message)
    for kind in kinds:
        if kind not in _KINDS:
            message = (
                f"event has value {kind!r}{suggestion(kind, _KINDS)}; "
                f"event kinds are {_list(_KINDS)}"
            )
            raise BadDeclaration(message)
    return tuple(dict.fromkeys(EventType(str(kind)) for kind in kinds))


def _spine(value: object) -> Spine:
    known = tuple(spine.value for spine in Spine)
    if isinstance(value, str) and value in known:
        return Spine(value)
    message = (
        f"spine has value {value!r}; use sent (one decision per sent message) "
        "or weekly (one per customer and Monday)"
    )
    raise BadDeclaration(message)


def _absent(value: object) -> bool:
    if isinstance(value, bool):
        return value
    message = f"absent has value {value!r}; use true (1 = no such event) or false"
    raise BadDeclaration(message)


def _grace(value: object) -> timedelta | None:
    return None if value == AUTO else _days("grace_days", value, other=f" or {AUTO}")


def _active_within(declaration: Mapping[str, Any], spine: Spine) -> timedelta | None:
    default = _WEEKLY_ACTIVE_WITHIN if spine is Spine.WEEKLY else None
    value = declaration.get("active_within_days", default)
    if value is None and spine is Spine.WEEKLY:
        message = (
            "active_within_days has value null; a weekly spine needs a number of days, "
            "else it asks for ever about customers who left"
        )
        raise BadDeclaration(message)
    return None if value is None else _days("active_within_days", value, positive=True)


def _monotone(value: object) -> tuple[tuple[str, int], ...]:
    """The declared directions, in order of name."""
    if not isinstance(value, Mapping):
        message = (
            f"monotone has value {value!r}; write features and their direction, for example "
            "{hours_since_last_purchase: -1}"
        )
        raise BadDeclaration(message)
    numbers = [name for name in contract.MODEL_FEATURES if name not in contract.TEXT_FEATURES]
    for name, sign in value.items():
        if name not in numbers:
            message = (
                f"monotone names {name!r}, which is no numeric feature of the model"
                f"{suggestion(name, numbers)}; docs/features.md lists them"
            )
            raise BadDeclaration(message)
        if isinstance(sign, bool) or sign not in (1, -1):
            message = (
                f"monotone.{name} has value {sign!r}; use 1 (the score may only rise with it) "
                "or -1 (only fall)"
            )
            raise BadDeclaration(message)
    return tuple(sorted((str(name), int(sign)) for name, sign in value.items()))


def _days(key: str, value: object, *, positive: bool = False, other: str = "") -> timedelta:
    """A number of days as a duration: finite, not negative, at most LONGEST."""
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    if usable and isinstance(value, int | float) and math.isfinite(value):
        in_range = 0 <= value <= LONGEST / _DAY
        if in_range and (timedelta(days=value) or not positive):
            return timedelta(days=value)
    least = "above 0" if positive else "from 0"
    message = f"{key} has value {value!r}; use a number {least} to {LONGEST.days} days{other}"
    raise BadDeclaration(message)


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)
