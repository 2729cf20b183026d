"""A plan as SQL: the rows of one file, typed, translated, checked; one pass, no row in Python.

The steps are common table expressions, each with one duty: raw (the file's cells), converted,
typed (with skips and problems); made (fields); filled, named, checked, events.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping as MappingOf
from datetime import datetime
from typing import Final

from feature_repo.event import MICROS
from feature_repo.history.schema import EVENTS
from feature_repo.ingest.checks import TYPES_SQL, Check, event_checks, first_problem
from feature_repo.ingest.conversion import TextType, blank, complaint
from feature_repo.ingest.files import Form
from feature_repo.ingest.known_at import KnownAt, KnownFrom
from feature_repo.ingest.literals import instant, text
from feature_repo.ingest.mapping import Skip, field_type
from feature_repo.ingest.plan import Plan
from feature_repo.ingest.source import LINE, ROW, Kind, Source
from feature_repo.ingest.terms import Cell, Scope

UNPLACED: Final = ("broken_line", "unknown_group")
"""Reasons of rows whose group cannot be told."""

ROWS_PER_FILE: Final = 1 << 40
"""`row_key` is the number of the file times this, plus the number of the row in it."""

SQL_TYPES: Final = {
    "text": "VARCHAR",
    "time": "TIMESTAMPTZ",
    "number": "DOUBLE",
    "whole": "BIGINT",
    "flag": "BOOLEAN",
}

_ID_FIELDS: Final = (
    "type",
    "customer_id",
    "event_time",
    "provider_event",
    "campaign_id",
    "message_id",
    "url",
    "link_id",
    "amount",
    "currency",
)
_ID_TEXT: Final = {
    "event_time": "epoch_us(event_time)::VARCHAR",
    "amount": f"TRY_CAST(round(amount * {MICROS}) AS HUGEINT)::VARCHAR",
}


def typed_rows(source: Source, plan: Plan, table: str, file_number: int) -> str:
    """CTEs from the file's cells to `typed`: row_key, v0 ..., skipped, problem and raw_json."""
    cells = _cells(source, plan)
    scope = _typed_scope(plan, cells)
    values = ", ".join(
        f"{type_.sql(*cells[name]) if name in cells else 'NULL'}::{SQL_TYPES[type_.type]} AS v{n}"
        for n, (name, type_) in enumerate(plan.columns.items())
    )
    skipped = _first_reason(plan.skip, scope)
    problem = first_problem(_cell_checks(source, plan, cells))
    return f"""
    raw AS (SELECT {_raw_columns(source, plan)} FROM {table}),
    converted AS (SELECT *, {values} FROM raw),
    judged AS (SELECT *, {skipped} AS skipped FROM converted),
    typed AS (
      SELECT *, {file_number * ROWS_PER_FILE} + {ROW} AS row_key,
             CASE WHEN skipped IS NULL THEN {problem} END AS problem,
             {_raw_json(source)} AS raw_json
      FROM judged)"""


def made_fields(plan: Plan) -> str:
    """The fields a plan makes of `typed`, as SQL columns; those it does not make are NULL."""
    scope = {
        name: Cell(f"v{n}", f"v{n} IS NULL", type_)
        for n, (name, type_) in enumerate(plan.columns.items())
    }
    return ", ".join(
        f"{plan.fields[name].sql(scope) if name in plan.fields else 'NULL'}"
        f"::{SQL_TYPES[field_type(name)]} AS {name}"
        for name in EVENTS.names
    )


def finished_events(plan: Plan, now: datetime, raw_ref: str, fingerprint: str) -> str:
    """CTEs from `made` to `events`: defaults, knowledge time and ids filled in, rows checked.

    `made` has the fields, skipped and problem; `raw_ref` and `fingerprint` are SQL over it.
    """
    received, backfilled = _knowledge(plan.known_at, now)
    known_type = f"lower(type) IN ({TYPES_SQL})"
    made_id = "NULL" if plan.has_ids else made_id_sql()
    problem = first_problem(event_checks(now))
    return f"""
    filled AS (SELECT * REPLACE (
      CASE WHEN {known_type} THEN lower(type) WHEN type IS NOT NULL THEN 'unknown' END AS type,
      CASE WHEN {known_type} THEN provider_event ELSE coalesce(provider_event, type) END
        AS provider_event,
      coalesce(lower(op), 'upsert') AS op,
      coalesce(lower(machine), 'none') AS machine,
      coalesce(provider, {text(plan.provider)}) AS provider,
      upper(currency) AS currency,
      {received} AS received_time,
      {backfilled} AS backfilled,
      coalesce(raw_ref, {raw_ref}) AS raw_ref,
      coalesce(mapping_version, {_nullable(plan.mapping_version)}) AS mapping_version,
      coalesce(schema_fingerprint, {fingerprint}) AS schema_fingerprint) FROM made),
    named AS (
      SELECT * REPLACE (coalesce(event_id, {made_id}) AS event_id), event_id IS NULL AS id_is_made
      FROM filled),
    checked AS (SELECT * REPLACE (
      CASE WHEN skipped IS NULL THEN coalesce(problem, {problem}) END AS problem) FROM named),
    events AS (SELECT * REPLACE (
      CASE WHEN problem IS NULL THEN coalesce(skipped, {_first_reason(plan.skip_events, _FIELDS)})
      END AS skipped) FROM checked)"""


def made_id_sql() -> str:
    """`event.deterministic_id` of what tells events without an id apart, as SQL over fields."""
    parts = ["length(provider) || ':' || provider"]
    for name in _ID_FIELDS:
        value = _ID_TEXT.get(name, name)
        parts.append(f"coalesce(length({value}) || ':' || {value}, '-:')")
    return f"left(sha256({' || '.join(parts)}), 32)"


def fingerprint(source: Source) -> str:
    """Equal for files with the same columns of the same kinds, in any order."""
    pairs = sorted(f"{column.name}:{column.kind}" for column in source.columns)
    return hashlib.sha256("\n".join(pairs).encode()).hexdigest()[:16]


_FIELDS: Final = {name: Cell(name, f"{name} IS NULL", TextType()) for name in EVENTS.names}


def _cells(source: Source, plan: Plan) -> dict[str, tuple[str, Kind]]:
    """The SQL and kind of each planned column that the file has."""
    if source.file.form is Form.JSONL:
        return {
            name: (f"struct_extract(object, {text(place)})", Kind.TEXT)
            for name, place in plan.places.items()
        }
    numbers = {column.name: n for n, column in enumerate(source.columns)}
    return {
        name: (f"c{numbers[place]}", source.columns[numbers[place]].kind)
        for name, place in plan.places.items()
    }


def _typed_scope(plan: Plan, cells: MappingOf[str, tuple[str, Kind]]) -> Scope:
    return {
        name: Cell(f"v{n}", blank(cells[name][0]) if name in cells else "true", type_)
        for n, (name, type_) in enumerate(plan.columns.items())
    }


def _raw_columns(source: Source, plan: Plan) -> str:
    if source.file.form is not Form.JSONL:
        return "*"
    shape = text(json.dumps(dict.fromkeys(plan.places.values(), "VARCHAR")))
    is_object = f"json_valid({LINE}) AND json_type({LINE}) = 'OBJECT'"
    return f"*, CASE WHEN {is_object} THEN json_transform({LINE}, {shape}) END AS object"


def _raw_json(source: Source) -> str:
    if source.file.form is Form.JSONL:
        return f"CASE WHEN json_valid({LINE}) THEN {LINE} ELSE to_json({LINE})::VARCHAR END"
    pairs = ", ".join(f"{text(column.name)}, c{n}" for n, column in enumerate(source.columns))
    return f"json_object({pairs})::VARCHAR"


def _cell_checks(
    source: Source, plan: Plan, cells: MappingOf[str, tuple[str, Kind]]
) -> tuple[Check, ...]:
    checks = []
    if source.file.form is Form.JSONL:
        checks.append(Check("broken_line", "object IS NULL", text("the line is no JSON object")))
    for n, (name, type_) in enumerate(plan.columns.items()):
        if name in cells and not isinstance(type_, TextType):
            cell = cells[name][0]
            reason = "unknown_group" if name in plan.group_by else f"bad_{type_.type}"
            unread = f"v{n} IS NULL AND NOT {blank(cell)}"
            checks.append(Check(reason, unread, complaint(plan.places[name], cell, type_)))
    return tuple(checks)


def _first_reason(rules: tuple[Skip, ...], scope: Scope) -> str:
    cases = " ".join(f"WHEN {rule.when.sql(scope)} THEN {text(rule.reason)}" for rule in rules)
    return f"(CASE {cases} END)" if cases else "NULL::VARCHAR"


def _knowledge(known_at: KnownAt, now: datetime) -> tuple[str, str]:
    """SQL of received_time and of backfilled."""
    if known_at.source is KnownFrom.COLUMN:
        return "received_time", "coalesce(backfilled, false)"
    if known_at.source is KnownFrom.NOW:
        return instant(now), "false"
    return f"event_time + to_seconds({known_at.delay.total_seconds():.0f})", "true"


def _nullable(value: str | None) -> str:
    return "NULL" if value is None else text(value)
