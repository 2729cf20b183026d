"""What of a message is written into which field of a tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from serving.routing.connectors.settings import Part
from serving.routing.message import Routed

Value = str | float | bool | None

_READERS: Final[Mapping[str, Callable[[Routed], Value]]] = {
    "score": lambda message: round(message.score, 6),
    "tier": lambda message: message.tier,
    "action": lambda message: str(message.action.kind),
    "until": lambda message: message.action.until,
    "reason": lambda message: message.action.reason,
    "rule": lambda message: message.action.rule,
    "holdout": lambda message: message.holdout,
    "model_version": lambda message: message.model_version,
    "time": lambda message: message.time,
    "expires_at": lambda message: message.expires_at,
}
FIELDS: Final = tuple(_READERS)
"""What may be written."""

TIMES: Final = frozenset(("until", "time", "expires_at"))

_DEFAULT: Final = {
    "score": "foresend_score",
    "tier": "foresend_tier",
    "action": "foresend_action",
    "holdout": "foresend_holdout",
}

_NOT_OF_HELD_OUT: Final = frozenset(("score", "tier"))
"""Left empty for customers who are held out. A segment that chose them by their score would mail
the good ones among them only, and what routing is worth would be measured wrong."""


def fields_of(part: Part) -> Mapping[str, str]:
    """Names of the tool's fields by ours, as the file says.

    Raises:
        ConfigError: it names something else.
    """
    found = part.part("fields", FIELDS, _DEFAULT)
    return {ours: found.text(ours) for ours in found.held}


def values_of(message: Routed, fields: Mapping[str, str]) -> dict[str, Value]:
    """What is written, by the tool's names; times are ISO 8601, None empties a field.

    Score and tier of a customer who is held out are None.
    """
    hidden = _NOT_OF_HELD_OUT if message.holdout else frozenset()
    return {
        theirs: None if ours in hidden else _READERS[ours](message)
        for ours, theirs in fields.items()
    }


def plain_time(written: str) -> str:
    """An ISO 8601 time as tools without time zones want it, in UTC.

    >>> plain_time("2026-01-31T08:00:00+01:00")
    '2026-01-31 07:00:00'
    """
    return f"{datetime.fromisoformat(written).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
