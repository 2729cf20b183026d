"""What became of the rows of an import: counted, told, and the bad ones kept in a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import duckdb

from feature_repo.errors import UnusableInput
from feature_repo.ingest.compile import ROWS_PER_FILE
from feature_repo.ingest.literals import text
from feature_repo.ingest.plan import Plan
from feature_repo.ingest.source import Source

_NOT_JSON: Final = r"[:,\[]\s*-?(NaN|nan|Infinity|inf)\s*[,}\]]"
"""DuckDB reads and writes such numbers, other readers of JSON do not: kept as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """What an import did. `rows` = rows that became events + `quarantined` + `skipped`."""

    files: tuple[str, ...]
    rows: int
    #: Events appended to the log.
    events: int
    #: Events the log already held word for word.
    known: int
    #: Rows that could not become events, by reason.
    quarantined: dict[str, int] = field(default_factory=dict)
    #: Rows that were not wanted, by reason.
    skipped: dict[str, int] = field(default_factory=dict)
    #: Distinct customers among the events of the files.
    customers: int
    #: Events of the files by type.
    types: dict[str, int] = field(default_factory=dict)
    first_event: datetime | None
    last_event: datetime | None
    #: Delta version of the log after the import.
    version: int | None
    #: File of the quarantined rows; None when there are none.
    quarantine: Path | None
    #: Columns of the files that nothing used.
    ignored: tuple[str, ...] = ()
    #: Files left out because they are copies of another one in the same command.
    copies: tuple[str, ...] = ()


def create_outcome(con: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Make the views `bad` (row_key, reason, detail, raw_json) and `unwanted` (row_key, reason)."""
    if not plan.group_by:
        con.execute(f"CREATE TEMP VIEW bad AS {_problems('candidates')}")
        con.execute(f"CREATE TEMP VIEW unwanted AS {_skips('candidates')}")
        return
    con.execute(f"""
    CREATE TEMP VIEW bad AS {_problems("lines")}
    UNION ALL
    SELECT row_key, 'bad_group',
           'another row of the same ' || {text(" and ".join(plan.group_by))} || ' is bad',
           raw_json
    FROM lines WHERE skipped IS NULL AND problem IS NULL
      AND group_key IN (SELECT group_key FROM lines WHERE problem IS NOT NULL)
    UNION ALL
    SELECT lines.row_key, candidates.problem.reason, candidates.problem.detail, lines.raw_json
    FROM lines JOIN candidates USING (group_key)
    WHERE lines.skipped IS NULL AND candidates.problem IS NOT NULL""")
    con.execute(f"""
    CREATE TEMP VIEW unwanted AS {_skips("lines")}
    UNION ALL
    SELECT lines.row_key, candidates.skipped FROM lines JOIN candidates USING (group_key)
    WHERE lines.skipped IS NULL AND candidates.skipped IS NOT NULL""")


def reasons(con: duckdb.DuckDBPyConnection, view: str) -> dict[str, int]:
    """Rows of `bad` or `unwanted` by reason, most first."""
    query = f"SELECT reason, count(*) FROM {view} GROUP BY ALL ORDER BY 2 DESC, 1"
    return dict(con.execute(query).fetchall())


def refuse_hopeless(con: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> None:
    """Stop when a file has bad rows and nothing else: it is not what it was said to be.

    Raises:
        UnusableInput: with the first reasons.
    """
    counts = dict(
        con.execute(f"SELECT row_key // {ROWS_PER_FILE}, count(*) FROM bad GROUP BY ALL").fetchall()
    )
    for number, source in enumerate(sources):
        if counts.get(number, 0) < source.rows + len(source.broken):
            continue
        examples = con.execute(
            f"""
            SELECT row_key % {ROWS_PER_FILE}, detail FROM (
              SELECT DISTINCT ON (reason) row_key, reason, detail FROM bad
              WHERE row_key // {ROWS_PER_FILE} = ? ORDER BY reason, row_key)
            ORDER BY row_key LIMIT 3""",
            [number],
        ).fetchall()
        told = "; ".join(f"row {row}: {detail}" for row, detail in examples)
        message = f"{source.file.path}: no row can become an event. Nothing was imported. {told}."
        raise UnusableInput(message)


def write_quarantine(
    con: duckdb.DuckDBPyConnection, sources: Sequence[Source], scratch: Path
) -> Path:
    """Write `bad` to a scratch file: JSONL of file, row, reason, detail, raw."""
    names = ", ".join(text(str(source.file.path.name)) for source in sources)
    target = scratch / "quarantine.jsonl"
    con.execute(f"""
    COPY (
      SELECT [{names}][row_key // {ROWS_PER_FILE} + 1] AS file, row_key % {ROWS_PER_FILE} AS row,
             reason, detail,
             CASE WHEN regexp_matches(raw_json, {text(_NOT_JSON)}) THEN to_json(raw_json)
                  ELSE raw_json::JSON END AS raw
      FROM bad ORDER BY row_key
    ) TO {text(str(target))} (FORMAT json)""")
    return target


def publish_quarantine(written: Path | None, target: Path) -> Path | None:
    """Put the file in its place in one step; without bad rows an older one is taken away."""
    if written is None:
        target.unlink(missing_ok=True)
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(written, target)
    return target


def _problems(table: str) -> str:
    return (
        "SELECT row_key, problem.reason AS reason, problem.detail AS detail, raw_json "
        f"FROM {table} WHERE problem IS NOT NULL"
    )


def _skips(table: str) -> str:
    return f"SELECT row_key, skipped AS reason FROM {table} WHERE skipped IS NOT NULL"
