"""The feature tables by brute force: at each moment, read all that was known and count.

Shares nothing with the product but the names of features and numpy's logaddexp2 and log2, whose
rounding is part of the promise.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from feature_repo import naming
from tests.integration.history.histories import Row

State = dict[str, Any]
Change = tuple[str, datetime, State]

_ENGAGEMENT = ("opened", "clicked", "browsed", "purchased")
_HUMAN = ("none", "gmail_proxy", "yahoo_proxy")
_DAY = timedelta(days=1)
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def as_known(history: Sequence[Row], customer: str, at: datetime) -> list[tuple[int, Row]]:
    """The customer's events as known at a time, with their positions, in order of knowledge."""
    newest: dict[str, tuple[datetime, int]] = {}
    for place, row in enumerate(history):
        key = (row["received_time"], place)
        if row["received_time"] <= at and key > newest.get(row["event_id"], (_EPOCH, -1)):
            newest[row["event_id"]] = key
    known = [(place, history[place]) for _, place in sorted(newest.values())]
    return [(p, r) for p, r in known if r["op"] == "upsert" and r["customer_id"] == customer]


def activity(history: Sequence[Row]) -> list[Change]:
    """Rows of the `activity` view."""
    return list(_changes(history, _instants(history), _fold, _fold([])))


def daily(history: Sequence[Row], through: datetime) -> list[Change]:
    """Rows of the `customer_daily` view."""
    first = min(row["event_time"] for row in history)
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    midnights = []
    while midnight <= through:
        midnights.append(midnight)
        midnight += _DAY
    return list(_changes(history, midnights, _windows, _windows([], first)))


def profile(history: Sequence[Row]) -> list[Change]:
    """Rows of the `customer_profile` view."""
    return list(_changes(history, _instants(history), _profile, None))


def _instants(history: Sequence[Row]) -> list[datetime]:
    return sorted({row["received_time"] for row in history})


def _changes(
    history: Sequence[Row],
    moments: Sequence[datetime],
    read: Callable[..., State],
    nothing: State | None,
) -> Iterator[Change]:
    for customer in sorted({row["customer_id"] for row in history}):
        before = nothing
        for at in moments:
            known = as_known(history, customer, at)
            if before is None and not known:
                continue
            state = read(known, at)
            if state != before:
                yield customer, at, state
            before = state


def _counted(row: Row) -> str | None:
    kind = str(row["type"])
    return None if kind in ("opened", "clicked") and row["machine"] not in _HUMAN else kind


def _fold(known: Sequence[tuple[int, Row]], at: datetime | None = None) -> State:
    state: State = dict.fromkeys(naming.ACTIVITY)
    state |= {naming.total(measure.plural): 0.0 for measure in naming.TOTALS}
    revenue = 0
    for _, row in known:
        kind, seconds = _counted(row), (row["event_time"] - _EPOCH) / timedelta(seconds=1)
        revenue += _micros(row) if kind == "purchased" else 0
        for measure in naming.TOTALS:
            if measure.kind == kind:
                _count(state, measure, row, seconds)
        if kind in ("sent", *_ENGAGEMENT):
            _keep(state, "last_event_at", seconds, max)
            _keep(state, "first_event_at", seconds, min)
        if kind == "purchased":
            _keep(state, "first_purchase_at", seconds, min)
        if kind in _ENGAGEMENT:
            local = row["event_time"] + timedelta(minutes=row["utc_offset_minutes"] or 0)
            _merge(state, naming.block_state(local.hour // 4), _days(row) / 28)
    state["revenue_total"] = revenue / 1_000_000
    return state


def _count(state: State, measure: naming.Measure, row: Row, seconds: float) -> None:
    if not measure.money:
        state[naming.total(measure.plural)] += 1.0
        _keep(state, naming.last_at(measure.singular), seconds, max)
    if measure not in naming.MEASURES or (measure.money and not _micros(row)):
        return
    weight = np.log2(_micros(row) / 1_000_000) if measure.money else 0.0
    for half_life in naming.HALF_LIVES_DAYS:
        _merge(state, naming.log2_state(measure.plural, half_life), _days(row) / half_life + weight)


def _merge(state: State, name: str, term: float) -> None:
    held = state[name]
    state[name] = float(term if held is None else np.logaddexp2(held, term))


def _keep(state: State, name: str, value: float, better: Callable[..., float]) -> None:
    state[name] = value if state[name] is None else better(state[name], value)


def _days(row: Row) -> float:
    return (row["event_time"] - _EPOCH) // timedelta(microseconds=1) / 86_400_000_000


def _micros(row: Row) -> int:
    return round((row["amount"] or 0.0) * 1_000_000)


def _windows(known: Sequence[tuple[int, Row]], at: datetime) -> State:
    state: State = {}
    for width in naming.WINDOWS_DAYS:
        inside = [row for _, row in known if at - width * _DAY < row["event_time"] <= at]
        for measure in naming.MEASURES:
            of_kind = [row for row in inside if _counted(row) == measure.kind]
            value = sum(map(_micros, of_kind)) / 1e6 if measure.money else float(len(of_kind))
            state[naming.windowed(measure.plural, width)] = value
        engaged = [row for row in inside if _counted(row) in _ENGAGEMENT]
        days = {math.ceil((row["event_time"] - _EPOCH) / _DAY) for row in engaged}
        state[naming.windowed("active_days", width)] = float(len(days))
    return {name: state[name] for name in naming.CUSTOMER_DAILY}


def _profile(known: Sequence[tuple[int, Row]], at: datetime) -> State:
    def last(row: Row) -> tuple[datetime, str]:
        return row["event_time"], hashlib.md5(row["event_id"].encode()).hexdigest()

    def newest(name: str) -> Any:
        stated = [row for _, row in known if row[name] is not None]
        return max(stated, key=last)[name] if stated else None

    told = {"subscribed": 1.0, "unsubscribed": 0.0, "complained": 0.0}
    said = [row for _, row in known if row["type"] in told]
    offset = newest("utc_offset_minutes")
    return {
        **{name: newest(name) for name in naming.PROFILE_TEXT},
        "utc_offset_minutes": None if offset is None else float(offset),
        "is_subscribed": told[max(said, key=last)["type"]] if said else 1.0,
    }
