"""`import_files`: files into the event log, all or nothing.

Everything up to the append happens in work tables that vanish with the process; the append is one
commit. So an import that is killed has changed nothing, and one that is repeated changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from feature_repo.errors import UnusableInput
from feature_repo.history import duck
from feature_repo.history.log import Appended, EventLog
from feature_repo.history.schema import EVENTS
from feature_repo.ingest import outcome, staging
from feature_repo.ingest.files import InputFile, Progress, inspect
from feature_repo.ingest.identities import create_identities
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
    identities: Path | None = None,
    clock: Callable[[], datetime],
    progress: Progress = silent,
) -> ImportSummary:
    """Append the events of the files to the log in one commit, and set aside the bad rows.

    Without `mapping` the files are in the canonical form (docs/events.md). Without `known_at`
    their rows must carry received_time. `identities` is the installation's table from addresses
    to customers, for mappings that have to do with addresses.

    Raises:
        UnusableInput: a file cannot be read as what it is; nothing was changed.
        ConfigError: nothing says when the rows were known.
        StoreUnavailable: memory or disk ran out; nothing was changed.
    """
    now = clock()
    with staged(settings, files, mapping, known_at, now, progress, identities) as work:
        bad = outcome.reasons(work.con, "bad")
        written = outcome.write_quarantine(work.con, work.sources, work.scratch) if bad else None
        progress("appending to the log", 0, None)
        appended = EventLog(settings.log_path).append(work.con, good_events(work.con, work.plan))
        quarantine = outcome.publish_quarantine(written, _quarantine_path(settings, work.inputs))
        return _summary(work, appended, bad, quarantine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """Files read into work tables (`ingest/staging.py`) that last as long as the connection."""

    con: duckdb.DuckDBPyConnection
    scratch: Path
    inputs: Sequence[InputFile]
    sources: Sequence[Source]
    plan: Plan
    #: Columns of the files that nothing uses.
    ignored: tuple[str, ...]
    #: Files left out because they are copies of others.
    copies: tuple[str, ...]


@contextmanager
def staged(
    settings: Settings,
    files: Sequence[Path],
    mapping: Mapping | None,
    known_at: KnownAt | None,
    now: datetime,
    progress: Progress,
    identities: Path | None = None,
) -> Iterator[Staged]:
    """The rows of the files as candidates for the log, with views of what became of the others.

    Raises:
        UnusableInput: a file cannot be read as what it is.
        ConfigError: nothing says when the rows were known.
        StoreUnavailable: memory or disk ran out.
    """
    inputs, copies = _without_copies([inspect(path, progress) for path in files])
    with scratch_folder(settings, "import") as scratch, duck.connect(settings) as con:
        create_identities(con, identities)
        sources, plan, ignored = _stage(con, inputs, mapping, known_at, now, progress)
        outcome.create_outcome(con, plan)
        outcome.refuse_hopeless(con, sources)
        yield Staged(
            con=con,
            scratch=scratch,
            inputs=inputs,
            sources=sources,
            plan=plan,
            ignored=ignored,
            copies=copies,
        )


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


def good_events(con: duckdb.DuckDBPyConnection, plan: Plan) -> duckdb.DuckDBPyRelation:
    """The candidates that are events, with the EVENTS schema, in the order of the files."""
    order = "ORDER BY row_key" if plan.group_by else ""
    good = f"problem IS NULL AND skipped IS NULL {order}"
    columns = ", ".join(
        "utc_offset_minutes::INTEGER AS utc_offset_minutes"
        if name == "utc_offset_minutes"
        else name
        for name in EVENTS.names
    )
    return con.sql(f"SELECT {columns} FROM candidates WHERE {good}")


def _quarantine_path(settings: Settings, inputs: Sequence[InputFile]) -> Path:
    """Named after the bytes of the files, so that the same import writes the same file."""
    digest = hashlib.sha256("".join(sorted(file.digest for file in inputs)).encode()).hexdigest()
    return settings.quarantine_path / f"{inputs[0].path.name.split('.')[0]}-{digest[:12]}.jsonl"


def _summary(
    work: Staged, appended: Appended, bad: dict[str, int], quarantine: Path | None
) -> ImportSummary:
    con, sources = work.con, work.sources
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
        ignored=work.ignored,
        copies=work.copies,
    )
