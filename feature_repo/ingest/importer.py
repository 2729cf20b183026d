"""`import_files`: files into the event log, all or nothing.

Everything up to the append happens in work tables that vanish with the process; the append is one
commit. So an import that is killed has changed nothing, and one that is repeated changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from feature_repo.errors import StoreUnavailable, UnusableInput
from feature_repo.history import duck
from feature_repo.history.log import Appended, EventLog
from feature_repo.history.schema import EVENTS
from feature_repo.ingest import outcome, staging
from feature_repo.ingest.files import InputFile, Progress, inspect
from feature_repo.ingest.known_at import KnownAt
from feature_repo.ingest.mapping import Mapping
from feature_repo.ingest.outcome import ImportSummary
from feature_repo.ingest.plan import Plan, make_plan
from feature_repo.ingest.readers import open_source
from feature_repo.ingest.source import Source
from feature_repo.scratch import scratch_folder
from feature_repo.settings import Settings


def silent(step: str, done: int, total: int | None) -> None:
    """A progress listener that does nothing."""


def import_files(
    settings: Settings,
    files: Sequence[Path],
    *,
    mapping: Mapping | None = None,
    known_at: KnownAt | None = None,
    clock: Callable[[], datetime],
    progress: Progress = silent,
) -> ImportSummary:
    """Append the events of the files to the log in one commit, and set aside the bad rows.

    Without `mapping` the files are in the canonical form (docs/events.md). Without `known_at`
    their rows must carry received_time.

    Raises:
        UnusableInput: a file cannot be read as what it is; nothing was changed.
        ConfigError: nothing says when the rows were known.
        StoreUnavailable: memory or disk ran out; nothing was changed.
    """
    inputs, copies = _without_copies([inspect(path, progress) for path in files])
    now = clock()
    with scratch_folder(settings, "import") as scratch, duck.connect(settings) as con:
        try:
            sources, plan, ignored = _stage(con, inputs, mapping, known_at, now, progress)
            outcome.create_outcome(con, plan)
            outcome.refuse_hopeless(con, sources)
            bad = outcome.reasons(con, "bad")
            written = outcome.write_quarantine(con, sources, scratch) if bad else None
            progress("appending to the log", 0, None)
            appended = _append(con, settings, plan)
        except (duckdb.OutOfMemoryException, duckdb.IOException) as exc:
            message = (
                f"The import ran out of memory or disk; nothing was imported ({exc}). Free space "
                f"under {settings.scratch_path}, or raise FORESEND_DUCKDB_MEMORY_LIMIT "
                f"(now {settings.duckdb_memory_limit})."
            )
            raise StoreUnavailable(message) from exc
        quarantine = outcome.publish_quarantine(written, _quarantine_path(settings, inputs))
        return _summary(con, sources, appended, bad, quarantine, ignored, copies)


def _without_copies(inputs: Sequence[InputFile]) -> tuple[list[InputFile], tuple[str, ...]]:
    """The files with distinct bytes, and the names of the others."""
    first: dict[str, InputFile] = {}
    copies = []
    for file in inputs:
        if first.setdefault(file.digest, file) is not file:
            copies.append(str(file.path))
    return list(first.values()), tuple(copies)


def _stage(
    con: duckdb.DuckDBPyConnection,
    inputs: Sequence[InputFile],
    mapping: Mapping | None,
    known_at: KnownAt | None,
    now: datetime,
    progress: Progress,
) -> tuple[list[Source], Plan, tuple[str, ...]]:
    sources = [open_source(file, progress) for file in inputs]
    # All of them before the first row is read: a missing column is told at once.
    plans = [make_plan(source, mapping, known_at) for source in sources]
    staging.create_tables(con, plans[0])
    for number, (source, plan) in enumerate(zip(sources, plans, strict=True)):
        staging.stage_file(con, source, plan, number, now)
        if source.rows + len(source.broken) == 0:
            message = f"{source.file.path} has no rows."
            raise UnusableInput(message)
    if plans[0].group_by:
        staging.stage_groups(con, plans[0], sources, now)
    ignored = dict.fromkeys(name for plan in plans for name in plan.ignored)
    return sources, plans[0], tuple(ignored)


def _append(con: duckdb.DuckDBPyConnection, settings: Settings, plan: Plan) -> Appended:
    order = "ORDER BY row_key" if plan.group_by else ""
    good = f"problem IS NULL AND skipped IS NULL {order}"
    columns = ", ".join(
        "utc_offset_minutes::INTEGER AS utc_offset_minutes"
        if name == "utc_offset_minutes"
        else name
        for name in EVENTS.names
    )
    return EventLog(settings.log_path).append(
        con, con.sql(f"SELECT {columns} FROM candidates WHERE {good}")
    )


def _quarantine_path(settings: Settings, inputs: Sequence[InputFile]) -> Path:
    """Named after the bytes of the files, so that the same import writes the same file."""
    digest = hashlib.sha256("".join(sorted(file.digest for file in inputs)).encode()).hexdigest()
    return settings.quarantine_path / f"{inputs[0].path.name.split('.')[0]}-{digest[:12]}.jsonl"


def _summary(
    con: duckdb.DuckDBPyConnection,
    sources: Sequence[Source],
    appended: Appended,
    bad: dict[str, int],
    quarantine: Path | None,
    ignored: tuple[str, ...],
    copies: tuple[str, ...],
) -> ImportSummary:
    good = "FROM candidates WHERE problem IS NULL AND skipped IS NULL"
    customers, first, last = con.execute(
        f"SELECT count(DISTINCT customer_id), min(event_time), max(event_time) {good}"
    ).fetchall()[0]
    types = con.execute(f"SELECT type, count(*) {good} GROUP BY ALL ORDER BY 2 DESC, 1").fetchall()
    return ImportSummary(
        files=tuple(str(source.file.path) for source in sources),
        rows=sum(source.rows + len(source.broken) for source in sources),
        events=appended.rows,
        known=appended.known,
        quarantined=bad,
        skipped=outcome.reasons(con, "unwanted"),
        customers=customers,
        types=dict(types),
        first_event=first,
        last_event=last,
        version=appended.version,
        quarantine=quarantine,
        ignored=ignored,
        copies=copies,
    )
