"""Canonical events as rows of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC
from operator import attrgetter
from typing import Any, Final

import pyarrow as pa

from feature_repo.event import Event
from feature_repo.history.schema import EVENTS, LOG

_WORDS: Final = frozenset({"type", "op", "machine"})


def event_rows(events: Sequence[Event]) -> pa.Table:
    """The events as a table with the EVENTS schema."""
    columns = [pa.array(_column(events, field.name), field.type) for field in EVENTS]
    return pa.table(columns, schema=EVENTS)


def log_rows(events: Sequence[Event], hashes: Sequence[str], *, first_position: int) -> pa.Table:
    """The events as a table with the LOG schema, positions counting from the first one."""
    months = [f"{event.event_time.astimezone(UTC):%Y-%m}" for event in events]
    columns = [
        pa.array(range(first_position, first_position + len(events)), pa.int64()),
        *event_rows(events).columns,
        pa.array(hashes, pa.string()),
        pa.array(months, pa.string()),
    ]
    return pa.table(columns, schema=LOG)


def _column(events: Iterable[Event], name: str) -> list[Any]:
    value: Callable[[Event], Any] = attrgetter(name)
    if name in _WORDS:
        return [value(event).value for event in events]
    return [value(event) for event in events]
