"""Bring the index of the log up to rows that others appended, or that a crash kept from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
from ibis.expr.types import Table

from feature_repo.event import Op
from feature_repo.history import duck
from feature_repo.history.log import Snapshot
from feature_repo.history.log_content import CONTENT_BYTES, ID_BYTES, row_key
from feature_repo.history.log_index import Covered, LogIndex
from feature_repo.settings import Settings

Progress = Callable[[str, int, int | None], None]
"""Told a step, how much of it is done, and how much it is in all if that is known."""

FEW: Final = 100_000
"""Up to here rows are looked up one by one; more are sorted and merged."""

_KEY_SQL: Final = (
    f"unhex(md5(event_id)[:{2 * ID_BYTES}] || content_hash[:{2 * CONTENT_BYTES}]) AS key"
)


@dataclass(frozen=True, slots=True)
class _Row:
    key: bytes
    event_id: str
    is_retraction: bool


def catch_up(
    settings: Settings,
    index: LogIndex,
    snapshot: Snapshot,
    goal: Covered,
    progress: Progress,
    *,
    few: int = FEW,
) -> None:
    """Add the rows of the snapshot that the index lacks, and note the events they correct.

    Of a log that is new to the index as a whole no corrections are noted: whoever builds the
    features from it sees them anyway.
    """
    held = index.covered()
    if held is None or held.log not in (None, goal.log):
        with duck.connect(settings) as con:
            keys = _sorted_keys(con, snapshot.rows(con), progress)
            index.add_sorted(keys, (), goal, anew=True)
        return
    with duck.connect(settings) as con:
        rows = snapshot.rows(con)
        fresh = rows.filter(rows.log_pos > held.position)
        if goal.position - held.position <= few:
            added = list(_fetch(con, fresh))
            index.add((row.key for row in added), _corrected_by(added, index), goal)
        else:
            corrected = _corrected(con, rows, fresh)
            index.add_sorted(_sorted_keys(con, fresh, progress), corrected, goal, anew=False)


def _corrected_by(rows: Sequence[_Row], index: LogIndex) -> list[str]:
    """Ids of the events that rows, new to the index, correct or withdraw."""
    known = set(index.contents({row.key[:ID_BYTES] for row in rows}))
    corrected: dict[str, None] = {}
    for row in rows:
        if row.is_retraction or row.key[:ID_BYTES] in known:
            corrected[row.event_id] = None
        known.add(row.key[:ID_BYTES])
    return list(corrected)


def _fetch(con: duckdb.DuckDBPyConnection, fresh: Table) -> Iterator[_Row]:
    narrow = fresh.select("event_id", "content_hash", "op", "log_pos").order_by("log_pos")
    for batch in duck.stream(con, narrow):
        columns = (batch.column(name).to_pylist() for name in ("event_id", "content_hash", "op"))
        for event_id, content, op in zip(*columns, strict=True):
            yield _Row(row_key(event_id, content), event_id, op == Op.RETRACT.value)


def _sorted_keys(
    con: duckdb.DuckDBPyConnection, rows: Table, progress: Progress
) -> Iterator[bytes]:
    duck.backend(con).create_view("to_index", rows.select("event_id", "content_hash"))
    total = con.sql("SELECT count(*) FROM to_index").fetchall()[0][0]
    done = 0
    for batch in duck.stream(con, f"SELECT {_KEY_SQL} FROM to_index ORDER BY key"):
        yield from batch.column("key").to_pylist()
        done += batch.num_rows
        progress("indexing the log", done, total)


def _corrected(con: duckdb.DuckDBPyConnection, rows: Table, fresh: Table) -> list[str]:
    """As `_corrected_by`, of so many rows that the log is asked instead of the index."""
    concerned = rows.semi_join(fresh.select("event_id"), "event_id").select("event_id")
    counts = concerned.group_by("event_id").agg(count=concerned.count())
    several = counts.filter(counts["count"] > 1).select("event_id")
    # By name: `.op` is a method of every Ibis table.
    withdrawn = fresh.filter(fresh["op"] == Op.RETRACT.value).select("event_id")
    every = several.union(withdrawn, distinct=True)
    return [
        event_id
        for batch in duck.stream(con, every)
        for event_id in batch.column("event_id").to_pylist()
    ]
