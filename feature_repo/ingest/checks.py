"""What no event may be: the rules of `feature_repo.event`, as SQL over a table of fields."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from feature_repo.event import CLOCK_SKEW, EARLIEST, LARGEST_AMOUNT, EventType, Machine, Op
from feature_repo.ingest.literals import instant, text

TYPES_SQL: Final = ", ".join(text(word) for word in EventType)
PROBLEM_TYPE: Final = "STRUCT(reason VARCHAR, detail VARCHAR)"

_WIDEST_OFFSET: Final = 18 * 60
_REQUIRED: Final = ("event_id", "customer_id", "event_time", "received_time")


@dataclass(frozen=True, slots=True)
class Check:
    """A rule: `broken` is SQL that is true when a row breaks it, `detail` SQL of a sentence."""

    reason: str
    broken: str
    detail: str


def event_checks(now: datetime) -> tuple[Check, ...]:
    """The rules in the order they are tried; the first that is broken is the row's reason."""
    return (
        Check("missing_type", "type IS NULL", text("type is missing")),
        *(
            Check(f"missing_{name}", f"{name} IS NULL", text(f"{name} is missing"))
            for name in _REQUIRED
        ),
        Check("retract_without_id", "op = 'retract' AND id_is_made", _RETRACT),
        Check("bad_op", f"op NOT IN ({_words(Op)})", f"'op ''' || op || {_is_not(Op)}"),
        *_time_checks(now),
        *_number_checks(),
        Check(
            "bad_machine",
            f"machine NOT IN ({_words(Machine)})",
            f"'machine ''' || machine || {_is_not(Machine)}",
        ),
    )


def first_problem(checks: tuple[Check, ...]) -> str:
    """SQL of the first broken rule as PROBLEM_TYPE, NULL when there is none."""
    if not checks:
        return f"NULL::{PROBLEM_TYPE}"
    cases = " ".join(
        f"WHEN {c.broken} THEN {{'reason': {text(c.reason)}, 'detail': {c.detail}}}" for c in checks
    )
    return f"(CASE {cases} END)::{PROBLEM_TYPE}"


def _time_checks(now: datetime) -> tuple[Check, ...]:
    skew = f"to_microseconds({CLOCK_SKEW // CLOCK_SKEW.resolution})"
    event = f"'event_time ' || {_shown('event_time')}"
    received = f"'received_time ' || {_shown('received_time')}"
    return (
        Check(
            "impossible_time",
            f"event_time < {instant(EARLIEST)}",
            f"{event} || {text(f' is before {EARLIEST.date()}')}",
        ),
        Check(
            "impossible_time",
            f"event_time > received_time + {skew}",
            f"{event} || ' is after ' || {received}",
        ),
        Check(
            "received_in_future",
            f"received_time > {instant(now)}",
            f"{received} || {text(f' is after the time of this import, {now.isoformat()}')}",
        ),
    )


def _number_checks() -> tuple[Check, ...]:
    return (
        Check(
            "bad_amount",
            "NOT isfinite(amount)",
            "'amount ' || amount || ' is not a finite number'",
        ),
        Check(
            "bad_amount",
            "amount < 0",
            "'amount ' || amount || ' is negative; a refund is type ''refunded'' with a positive "
            "amount'",
        ),
        Check(
            "bad_amount",
            f"amount > {LARGEST_AMOUNT!r}",
            f"'amount ' || amount || {text(f' is above {LARGEST_AMOUNT:.0f}')}",
        ),
        Check(
            "bad_machine_score",
            "NOT machine_score BETWEEN 0 AND 1",
            "'machine_score ' || machine_score || ' is not between 0 and 1'",
        ),
        Check(
            "bad_utc_offset",
            f"abs(utc_offset_minutes) > {_WIDEST_OFFSET}",
            "'utc_offset_minutes ' || utc_offset_minutes || ' is more than 18 hours'",
        ),
    )


_RETRACT: Final = text("op 'retract' needs the event_id of what it withdraws")


def _words(words: type[Op] | type[Machine]) -> str:
    return ", ".join(text(word) for word in words)


def _is_not(words: type[Op] | type[Machine]) -> str:
    return text(f"' is not one of {', '.join(words)}")


def _shown(name: str) -> str:
    return f"strftime({name}, '%Y-%m-%dT%H:%M:%SZ')"
