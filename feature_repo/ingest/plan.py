"""What is to be made of one file: a mapping, or the canonical form read as if it were one."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import Final

from feature_repo.errors import ConfigError, UnusableInput
from feature_repo.history.schema import EVENTS
from feature_repo.ingest.conversion import (
    ColumnType,
    FlagType,
    NumberType,
    TextType,
    TimeType,
    WholeType,
)
from feature_repo.ingest.files import Form
from feature_repo.ingest.known_at import KnownAt, KnownFrom
from feature_repo.ingest.mapping import REQUIRED, Mapping, Skip, field_type
from feature_repo.ingest.source import Source
from feature_repo.ingest.terms import Column, Term

CANONICAL: Final = "canonical"

_TYPES: Final[dict[str, ColumnType]] = {
    "text": TextType(),
    "whole": WholeType(),
    "number": NumberType(),
    "flag": FlagType(),
    "time": TimeType(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the rows of a file become events."""

    #: The provider of events that name none.
    provider: str
    mapping_version: str | None
    columns: MappingOf[str, ColumnType]
    #: Where each of `columns` is in the file; absent: it is missing in every row.
    places: MappingOf[str, str]
    fields: MappingOf[str, Term]
    skip: tuple[Skip, ...]
    skip_events: tuple[Skip, ...]
    group_by: tuple[str, ...]
    #: Whether each row must bring its event_id; else a missing one is made of the content.
    has_ids: bool
    #: Columns of the file that nothing uses.
    ignored: tuple[str, ...]
    known_at: KnownAt


def make_plan(source: Source, mapping: Mapping | None, known_at: KnownAt | None) -> Plan:
    """Match a file's columns with what is needed of it.

    Raises:
        UnusableInput: a needed column is not there.
        ConfigError: nothing says when the rows were known.
    """
    if mapping is None:
        return _canonical_plan(source, known_at)
    needed = [name for name in mapping.columns if name not in mapping.optional]
    places = _places(source, mapping.columns)
    missing = [name for name in needed if name not in places]
    if missing:
        raise _missing(
            source,
            missing[0],
            f"Mapping {mapping.label} is for another table, or list the column under optional.",
        )
    return Plan(
        provider=mapping.name,
        mapping_version=mapping.label,
        columns=mapping.columns,
        places=places,
        fields=mapping.fields,
        skip=mapping.skip,
        skip_events=mapping.skip_events,
        group_by=mapping.group_by,
        has_ids="event_id" in mapping.fields,
        ignored=(),
        known_at=_knowledge(source, "received_time" in mapping.fields, known_at),
    )


def _canonical_plan(source: Source, known_at: KnownAt | None) -> Plan:
    places = _places(source, EVENTS.names)
    missing = [name for name in REQUIRED if name not in places]
    if missing:
        raise _missing(source, missing[0], "Give --mapping to translate a foreign table.")
    knowledge = _knowledge(source, "received_time" in places, known_at)
    # A JSONL object may hold a key that none of the first lines has.
    names = EVENTS.names if source.file.form is Form.JSONL else list(places)
    unused = set(places.values())
    return Plan(
        provider=CANONICAL,
        mapping_version=None,
        columns={name: _TYPES[field_type(name)] for name in names},
        places={name: places.get(name, name) for name in names},
        fields={name: Column(column=name) for name in names},
        skip=(),
        skip_events=(),
        group_by=(),
        has_ids="event_id" in places,
        ignored=tuple(column.name for column in source.columns if column.name not in unused),
        known_at=knowledge,
    )


def _places(source: Source, names: MappingOf[str, object] | list[str]) -> dict[str, str]:
    """The file's name for each name found: the same, else the only one alike but for case."""
    present = [column.name for column in source.columns]
    places = {}
    for name in names:
        alike = [other for other in present if other.lower() == name.lower()]
        if name in present:
            places[name] = name
        elif len(alike) == 1:
            places[name] = alike[0]
    return places


def _missing(source: Source, name: str, cure: str) -> UnusableInput:
    present = ", ".join(column.name for column in source.columns[:40])
    message = f"{source.file.path} has no column {name!r}; it has {present}. {cure}"
    return UnusableInput(message)


def _knowledge(source: Source, has_column: bool, known_at: KnownAt | None) -> KnownAt:
    if known_at is None and has_column:
        return KnownAt(KnownFrom.COLUMN)
    if known_at is None:
        message = (
            f"{source.file.path} does not say when its rows were received. Give "
            '--known-at "event_time+2h" (or another delay) for history, or --known-at now for '
            "events that nobody knew of before this import."
        )
        raise ConfigError(message)
    if known_at.source is KnownFrom.COLUMN and not has_column:
        raise _missing(source, "received_time", "Give another --known-at: now or event_time+DELAY.")
    return known_at
