"""Erasure in the event log and its index: in all versions, without giving a position out twice.

A row about an event that other customers' rows are about too (a correction moved it from one to
another) is what ended or began their part in it. Such a row stays as a withdrawal that says
nothing else, so that what the others' features were computed from does not change.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from filelock import FileLock, Timeout

from feature_repo.errors import StoreUnavailable
from feature_repo.history import duck
from feature_repo.history.erase_person import Person
from feature_repo.history.log import CONTENT_SQL, snapshot_of
from feature_repo.history.log_content import row_key
from feature_repo.history.log_files import (
    LogFile,
    commit_files,
    ensure_properties,
    files_of,
    write_files,
)
from feature_repo.history.log_index import Covered, LogIndex
from feature_repo.history.schema import EVENTS, LOG
from feature_repo.settings import Settings

WRITER: Final = "erasure"

_KEPT: Final = frozenset({"event_id", "received_time", "event_time"})
_REQUIRED: Final = {
    "customer_id": "other",
    "type": "'unknown'",
    "op": "'retract'",
    "provider": "'erased'",
    "machine": "'none'",
    "backfilled": "false",
}


def erase_from_log(
    settings: Settings, person: Person, *, wait_s: float
) -> tuple[int, tuple[str, ...]]:
    """Remove the person's rows; their number, and the event_ids they had.

    Raises:
        StoreUnavailable: another process kept the log for longer than `wait_s`.
    """
    folder = settings.log_path
    try:
        with FileLock(f"{folder}.lock", timeout=wait_s):
            if not DeltaTable.is_deltatable(str(folder)):
                return 0, ()
            return _erase(settings, folder, person)
    except Timeout as exc:
        message = (
            f"Another process has been writing to the event log {folder} for more than "
            f"{wait_s:.0f} s. Run the erasure again when it is done; it goes on where it stopped."
        )
        raise StoreUnavailable(message) from exc


def _erase(settings: Settings, folder: Path, person: Person) -> tuple[int, tuple[str, ...]]:
    table = DeltaTable(str(folder))
    with duck.connect(settings) as con:
        _create_rows(con, folder, files_of(table))
        con.execute(
            "CREATE TEMP TABLE of AS SELECT unnest(?::VARCHAR[]) AS customer_id",
            [sorted(person.ids)],
        )
        own = con.execute(_OWN_SQL).fetchall()
        concerned = {name for (name,) in con.execute(_FILES_SQL).fetchall()}
        telling = _telling(table, person)
        files = [f for f in files_of(table) if str(folder / f.path) in concerned | telling]
        if files:
            _rewrite(settings, con, folder, table, files, own)
    _forget_versions(folder, drop_commits=bool(telling))
    return len(own), tuple({event_id for event_id, _, _ in own})


def _rewrite(
    settings: Settings,
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    table: DeltaTable,
    files: Sequence[LogFile],
    own: Sequence[Sequence[Any]],
) -> None:
    """Exchange the files for ones without the person, and follow with the index."""
    last = snapshot_of(table).last_position
    log = str(table.metadata().id)
    index = LogIndex(settings.state_path)
    try:
        held = index.covered()
        in_step = held is not None and (held.log, held.position) == (log, last)
        # Killed before the end, it is made anew from what the log holds then.
        index.distrust()
        _create_rewritten(con, [str(folder / file.path) for file in files])
        added = write_files(con, "SELECT * FROM rewritten ORDER BY log_pos", folder)
        now_ms = time.time_ns() // 1_000_000
        removed = [file.removal(now_ms, data_change=True) for file in files]
        version = commit_files(
            folder, added, writer=WRITER, removed=removed, last_position=last, table=table
        )
        if in_step:
            gone = [row_key(event_id, content) for event_id, content, shared in own if not shared]
            index.remove(gone, [row[0] for row in own], Covered(log, last, version))
    finally:
        index.close()


def _create_rows(con: duckdb.DuckDBPyConnection, folder: Path, files: Sequence[LogFile]) -> None:
    paths = [str(folder / file.path) for file in files]
    if not paths:
        con.from_arrow(LOG.append(pa.field("filename", pa.string())).empty_table()).create_view(
            "log"
        )
        return
    con.execute(
        "CREATE VIEW log AS SELECT * FROM "
        f"read_parquet({paths!r}, filename=true, hive_partitioning=true, union_by_name=true)"
    )


def _create_rewritten(con: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """The rows of some files without the customer; what must stay of shared events is emptied."""
    scrubbed = ", ".join(
        name if name in _KEPT else f"{_REQUIRED.get(name, 'NULL')} AS {name}"
        for name in EVENTS.names
    )
    columns = ", ".join(EVENTS.names)
    con.execute("CREATE TEMP TABLE part AS SELECT unnest(?::VARCHAR[]) AS filename", [paths])
    con.execute(f"""
    CREATE TEMP TABLE emptied AS
      SELECT log_pos, {columns}, {CONTENT_SQL} AS content_hash, event_month FROM (
        SELECT log_pos, {scrubbed}, event_month::VARCHAR AS event_month
        FROM log SEMI JOIN part USING (filename) JOIN shared USING (event_id)
        WHERE customer_id IN (SELECT customer_id FROM of))""")
    con.execute(f"""
    CREATE TEMP VIEW rewritten AS
      SELECT log_pos, {columns}, content_hash, event_month::VARCHAR AS event_month
      FROM log SEMI JOIN part USING (filename)
      WHERE customer_id NOT IN (SELECT customer_id FROM of)
      UNION ALL BY NAME SELECT * FROM emptied""")


# Events of the person, and of which of them others have rows too.
_OWN_SQL: Final = """
CREATE TEMP TABLE own AS
  SELECT event_id, content_hash FROM log WHERE customer_id IN (SELECT customer_id FROM of);
CREATE TEMP TABLE shared AS
  SELECT event_id, min_by(customer_id, log_pos) AS other
  FROM log SEMI JOIN own USING (event_id)
  WHERE customer_id NOT IN (SELECT customer_id FROM of)
  GROUP BY event_id;
SELECT event_id, content_hash, event_id IN (SELECT event_id FROM shared) FROM own
"""

_FILES_SQL: Final = (
    "SELECT DISTINCT filename FROM log WHERE customer_id IN (SELECT customer_id FROM of)"
)


def _telling(table: DeltaTable, person: Person) -> set[str]:
    """Files of which Delta's own log holds values of the person, as older versions had them."""
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    folder = Path(table.table_uri.removeprefix("file://"))
    return {
        str(folder / action["path"])
        for action in actions
        if any(
            isinstance(value, str) and (value in person.ids or person.is_in_text(value))
            for name, value in action.items()
            if name.startswith(("min.", "max."))
        )
    }


def _forget_versions(folder: Path, *, drop_commits: bool) -> None:
    """Delete the files of all older versions; with `drop_commits` what Delta noted of them too."""
    table = DeltaTable(str(folder))
    made_before = ensure_properties(table)
    table = DeltaTable(str(folder))
    table.vacuum(
        retention_hours=0,
        dry_run=False,
        enforce_retention_duration=False,
        full=True,
        commit_properties=CommitProperties({"writer": WRITER, "rows": "0"}),
    )
    if not (made_before or drop_commits):
        return
    table = DeltaTable(str(folder))
    table.create_checkpoint()
    version = f"{table.version():020}"
    for path in (folder / "_delta_log").iterdir():
        if path.name[:20].isdecimal() and path.name[:20] < version:
            path.unlink()
