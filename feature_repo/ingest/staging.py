"""The import's work tables in DuckDB: every row read, what became of it, and why.

`candidates` holds one row per event to be, with `problem` and `skipped` NULL when it is good.
For a mapping with group_by, `lines` holds the rows of the files and `candidates` their groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import duckdb
import pyarrow as pa

from feature_repo.errors import UnusableInput
from feature_repo.history.schema import EVENTS
from feature_repo.ingest.checks import PROBLEM_TYPE
from feature_repo.ingest.compile import (
    ROWS_PER_FILE,
    SQL_TYPES,
    UNPLACED,
    fingerprint,
    finished_events,
    made_fields,
    typed_rows,
)
from feature_repo.ingest.literals import text
from feature_repo.ingest.mapping import field_type
from feature_repo.ingest.plan import Plan
from feature_repo.ingest.source import Source

_FIELDS: Final = ", ".join(EVENTS.names)
_OUTCOME: Final = f"row_key BIGINT, problem {PROBLEM_TYPE}, skipped VARCHAR, raw_json VARCHAR"
_BROKEN: Final = pa.schema(
    [("row_key", pa.int64()), ("detail", pa.string()), ("raw_json", pa.string())]
)


def create_tables(con: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Make the empty work tables that the plan needs."""
    types = ", ".join(f"{name} {SQL_TYPES[field_type(name)]}" for name in EVENTS.names)
    con.execute(f"CREATE TEMP TABLE candidates ({types}, group_key VARCHAR, {_OUTCOME})")
    if plan.group_by:
        values = ", ".join(
            f"v{n} {SQL_TYPES[type_.type]}" for n, type_ in enumerate(plan.columns.values())
        )
        con.execute(
            f"CREATE TEMP TABLE lines ({values}, group_key VARCHAR, origin VARCHAR, {_OUTCOME})"
        )


def stage_file(
    con: duckdb.DuckDBPyConnection, source: Source, plan: Plan, file_number: int, now: datetime
) -> None:
    """Read a file into the work tables.

    Raises:
        UnusableInput: the file turned out to be damaged.
    """
    con.register("source_rows", source.reader())
    try:
        typed = typed_rows(source, plan, "source_rows", file_number)
        if plan.group_by:
            con.execute(_stage_lines(typed, source, plan))
        else:
            con.execute(_stage_events(typed, source, plan, now))
    except duckdb.Error:
        if source.error is not None:
            raise source.error from None
        raise
    finally:
        con.unregister("source_rows")
    _stage_broken(con, source, "lines" if plan.group_by else "candidates", file_number)


def stage_groups(
    con: duckdb.DuckDBPyConnection, plan: Plan, sources: Sequence[Source], now: datetime
) -> None:
    """Turn `lines` into one candidate per group. A group with a bad line makes none.

    Raises:
        UnusableInput: a bad line cannot be assigned to its group, so any sum may be wrong.
    """
    unplaced = con.execute(
        f"SELECT row_key, problem.detail FROM lines WHERE problem.reason IN {UNPLACED!r} "
        "ORDER BY row_key LIMIT 1"
    ).fetchall()
    for row_key, detail in unplaced:
        source = sources[row_key // ROWS_PER_FILE]
        message = (
            f"{source.file.path}, row {row_key % ROWS_PER_FILE}: {detail}. The mapping "
            "adds up rows, and nobody can say to what this row belongs. Mend or delete the row."
        )
        raise UnusableInput(message)
    keys = ", ".join(f"v{list(plan.columns).index(name)}" for name in plan.group_by)
    origin = "arg_min(origin, row_key)"
    con.execute(f"""
    INSERT INTO candidates BY NAME
    WITH made AS (
      SELECT {made_fields(plan)}, group_key, min(row_key) AS row_key,
             {origin} AS origin, NULL::{PROBLEM_TYPE} AS problem, NULL::VARCHAR AS skipped
      FROM lines
      WHERE skipped IS NULL AND group_key NOT IN (
        SELECT group_key FROM lines WHERE problem IS NOT NULL)
      GROUP BY group_key, {keys}),
    {finished_events(plan, now, _raw_ref_of_group(sources), "origin")}
    SELECT {_FIELDS}, group_key, row_key, problem, skipped FROM events ORDER BY row_key""")


def _stage_events(typed: str, source: Source, plan: Plan, now: datetime) -> str:
    raw_ref = f"{text(source.file.path.name + '#')} || row_key % {ROWS_PER_FILE}"
    return f"""
    INSERT INTO candidates BY NAME
    WITH {typed},
    made AS (SELECT {made_fields(plan)}, row_key, problem, skipped, raw_json FROM typed),
    {finished_events(plan, now, raw_ref, text(fingerprint(source)))}
    SELECT {_FIELDS}, row_key, problem, skipped,
           CASE WHEN problem IS NOT NULL THEN raw_json END AS raw_json
    FROM events"""


def _stage_lines(typed: str, source: Source, plan: Plan) -> str:
    names = list(plan.columns)
    values = ", ".join(f"v{n}" for n in range(len(names)))
    key = " || ".join(
        f"coalesce(length(v{n}::VARCHAR) || ':' || v{n}::VARCHAR, '-:')"
        for n in (names.index(name) for name in plan.group_by)
    )
    return f"""
    INSERT INTO lines BY NAME
    WITH {typed}
    SELECT {values}, {key} AS group_key, {text(fingerprint(source))} AS origin,
           row_key, problem, skipped,
           CASE WHEN skipped IS NULL THEN raw_json END AS raw_json
    FROM typed"""


def _stage_broken(
    con: duckdb.DuckDBPyConnection, source: Source, table: str, file_number: int
) -> None:
    if not source.broken:
        return
    rows = pa.Table.from_pylist(
        [
            {
                "row_key": file_number * ROWS_PER_FILE + row.row,
                "detail": f"the row has {row.found} cells, the header {row.expected}",
                "raw_json": row.text,
            }
            for row in source.broken
        ],
        schema=_BROKEN,
    )
    con.register("broken_rows", rows)
    con.execute(f"""
    INSERT INTO {table} BY NAME
    SELECT row_key, {{'reason': 'broken_line', 'detail': detail}} AS problem,
           to_json(raw_json)::VARCHAR AS raw_json FROM broken_rows""")
    con.unregister("broken_rows")


def _raw_ref_of_group(sources: Sequence[Source]) -> str:
    names = ", ".join(text(source.file.path.name) for source in sources)
    return f"[{names}][row_key // {ROWS_PER_FILE} + 1] || '#' || row_key % {ROWS_PER_FILE}"
