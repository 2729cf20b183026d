"""State history anew: from the raw store with today's mappings, or from corrected files.

What is new or different is appended as known from now on. What we knew before, and when, is not
touched: everything computed as of an earlier moment stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import duckdb

from feature_repo.history.backfill_compare import Comparison, compare
from feature_repo.history.backfill_sources import Source
from feature_repo.history.build import BuildResult, build
from feature_repo.history.log import EventLog
from feature_repo.history.log_catch_up import Progress
from feature_repo.history.log_writer import BACKFILL, silent
from feature_repo.ingest.known_at import KnownFrom
from feature_repo.settings import Settings

CHUNK_ROWS: Final = 200_000
"""Rows of one commit. A backfill that is killed keeps the chunks that are in; run it again."""

STEP: Final = "appending to the log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfilled:
    """What a backfill did, or with `dry_run` would do."""

    comparison: Comparison
    #: Events or rows that could not be used, by reason.
    rejected: dict[str, int]
    #: Rows appended, 0 in a dry run.
    appended: int
    #: Delta version of the log.
    version: int | None
    #: The build of the features at the end; None: there was none.
    built: BuildResult | None


def backfill(
    settings: Settings,
    source: Source,
    *,
    clock: Callable[[], datetime],
    dry_run: bool = False,
    rebuild: bool = True,
    contextual: tuple[str, ...] = (),
    chunk_rows: int = CHUNK_ROWS,
    progress: Progress = silent,
) -> Backfilled:
    """Compare the source with the log and, unless `dry_run`, append what differs.

    Twice is once: the second run finds nothing to append. `rebuild`: bring the feature tables up
    to it at the end. The online store follows by itself (`recompute`).

    Raises:
        UnusableInput: a file cannot be read as what it is; nothing was changed.
        StoreUnavailable: disk or memory ran out, or a build is running; run it again.
    """
    now = clock()
    log = EventLog(settings.log_path)
    with source.open(settings, now, progress) as restated:
        con = restated.con
        progress("comparing with the log", 0, None)
        found = compare(con, log.snapshot(), is_raw=source.is_raw, contextual=contextual)
        appended = 0
        if not dry_run:
            declared = source.known_at.source is not KnownFrom.NOW
            appended = _append(con, log, now, found.changes, chunk_rows, progress, declared)
    built = None
    if rebuild and appended:
        built = build(
            settings,
            through=clock(),
            progress=lambda step, share: progress(f"features: {step}", round(100 * share), 100),
        )
    return Backfilled(
        comparison=found,
        rejected=restated.rejected,
        appended=appended,
        version=log.snapshot().version,
        built=built,
    )


def _append(
    con: duckdb.DuckDBPyConnection,
    log: EventLog,
    now: datetime,
    total: int,
    chunk_rows: int,
    progress: Progress,
    declared: bool,
) -> int:
    """Append `changes` as known from `now` on; `declared`: new events from when the source says."""
    known = "received_time" if declared else "$now"
    stamped = (
        "SELECT * EXCLUDE (kind, place) REPLACE ("
        f"CASE kind WHEN 'new' THEN {known} ELSE $now END::TIMESTAMPTZ AS received_time, "
        "kind = 'new' AND backfilled AS backfilled) "
    )
    appended = 0
    for start in range(0, total, chunk_rows):
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE chunk AS {stamped} FROM changes "
            "WHERE place > $start AND place <= $stop ORDER BY place",
            {"now": now, "start": start, "stop": start + chunk_rows},
        )
        appended += log.append(con, con.table("chunk"), writer=BACKFILL).rows
        progress(STEP, min(start + chunk_rows, total), total)
    return appended
