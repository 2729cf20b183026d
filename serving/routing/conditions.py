"""The words in which rules of routing are written: a fact of the customer, held against a limit.

A condition on something that is not known of a customer is not met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from serving.routing.facts import Facts

Limit = float | bool | frozenset[str]
"""What a rule compares with."""

Value = float | str | None
"""What is compared; None or NaN: not known."""


class Form(Enum):
    """How a limit is written in the file."""

    SHARE = "a number from 0 to 1"
    NUMBER = "a number of 0 or more"
    FLAG = "true or false"
    NAMES = "a name or a list of names"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A customer about whom it is decided."""

    facts: Facts
    score: float
    tier: str | None


@dataclass(frozen=True, slots=True)
class Condition:
    """One word."""

    form: Form
    value: Callable[[Case], Value]
    holds: Callable[[Value, Limit], bool]
    #: For people; `{value}` and `{limit}` are filled in.
    text: str

    def is_met(self, case: Case, limit: Limit) -> bool:
        """Whether the customer's value is known and holds against the limit."""
        value = self.value(case)
        return is_known(value) and self.holds(value, limit)

    def told(self, case: Case, limit: Limit) -> str:
        """The comparison in words."""
        return self.text.format(value=_shown(self.value(case)), limit=_shown(limit))


def is_known(value: Value) -> bool:
    """Whether there is a value at all."""
    return value is not None and value == value


def _at_least(value: Value, limit: Limit) -> bool:
    return isinstance(value, float) and isinstance(limit, float) and value >= limit


def _below(value: Value, limit: Limit) -> bool:
    return isinstance(value, float) and isinstance(limit, float) and value < limit


def _is(value: Value, limit: Limit) -> bool:
    return value == float(bool(limit))


def _is_among(value: Value, limit: Limit) -> bool:
    return isinstance(limit, frozenset) and value in limit


CONDITIONS: Final[Mapping[str, Condition]] = {
    "tier": Condition(Form.NAMES, lambda c: c.tier, _is_among, "tier {value} is among {limit}"),
    "score_below": Condition(
        Form.SHARE, lambda c: c.score, _below, "score {value} is below {limit}"
    ),
    "score_at_least": Condition(
        Form.SHARE, lambda c: c.score, _at_least, "score {value} is at least {limit}"
    ),
    "subscribed": Condition(
        Form.FLAG, lambda c: c.facts.subscribed, _is, "subscribed is {value}, asked for {limit}"
    ),
    "ghost_at_least": Condition(
        Form.SHARE,
        lambda c: c.facts.ghost,
        _at_least,
        "chance of {value} that the last mails missed the inbox is at least {limit}",
    ),
    "silent_days": Condition(
        Form.NUMBER,
        lambda c: c.facts.silent_days,
        _at_least,
        "silent for {value} days in which mail was seen, at least {limit}",
    ),
    "seen_sends": Condition(
        Form.NUMBER,
        lambda c: c.facts.seen_sends,
        _at_least,
        "{value} mails of the last months were seen, at least {limit}",
    ),
    "recent_sends": Condition(
        Form.NUMBER,
        lambda c: c.facts.recent_sends,
        _at_least,
        "{value} mails of late, at least {limit}",
    ),
    "opens_trend_below": Condition(
        Form.NUMBER,
        lambda c: c.facts.opens_trend,
        _below,
        "opens come at {value} of their usual pace, below {limit}",
    ),
}


def _shown(value: Value | Limit) -> str:
    if isinstance(value, frozenset):
        return ", ".join(sorted(value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.3g}" if value == value else "unknown"
    return "unknown" if value is None else value
