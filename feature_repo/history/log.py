"""The event log: append-only, bitemporal, on Delta; read through DuckDB.

Nothing in the log is changed. A row with a known `event_id` corrects or withdraws what was known
before it; "as known at K" is the latest row per `event_id` with `received_time <= K`, without the
withdrawn ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import ibis
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from filelock import FileLock
from ibis.expr.types import Table

from feature_repo.event import CONTENT_FIELDS, MICROS
from feature_repo.history.log_files import (
    POSITION_APP,
    commit_files,
    ensure_properties,
    write_files,
)
from feature_repo.history.schema import EVENTS, LOG

_COMPACTION: Final = {"writer": "compaction", "rows": "0"}


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did. Rows that the log already held word for word are `known`."""

    rows: int
    known: int
    #: Delta version that holds the rows; unchanged when there were none.
    version: int | None
    #: Ids of events whose earlier content the log held, or that were withdrawn; told by LogWriter.
    corrected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the log, fixed: later appends do not show in it."""

    #: None: the log does not exist yet.
    version: int | None
    files: tuple[str, ...]
    #: Greatest log_pos ever given out, -1 when empty.
    last_position: int

    def rows(self, con: duckdb.DuckDBPyConnection) -> Table:
        """Every row of the log, unordered, as an Ibis table with the LOG schema."""
        backend = ibis.duckdb.from_connection(con)
        if not self.files:
            con.register("log_empty", LOG.empty_table())
            return backend.table("log_empty")
        name = f"log_v{self.version}"
        con.from_parquet(list(self.files), hive_partitioning=True, union_by_name=True).create_view(
            name, replace=True
        )
        table = backend.table(name)
        return table.mutate(event_month=table.event_month.cast("string"))

    def as_known(
        self, con: duckdb.DuckDBPyConnection, at: datetime, columns: Sequence[str]
    ) -> Table:
        """The events as we knew them at `at`, that instant included: one row per event_id."""
        rows = self.rows(con)
        return _latest(rows.filter(rows.received_time <= ibis.literal(at)), columns)

    def as_corrected(self, con: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> Table:
        """The events by everything known today: one row per event_id."""
        return _latest(self.rows(con), columns)


class EventLog:
    """The log in one folder. One writer at a time (a file lock); any number of readers."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exists(self) -> bool:
        """Whether anything was ever appended."""
        return bool(DeltaTable.is_deltatable(str(self._path)))

    def snapshot(self, version: int | None = None) -> Snapshot:
        """The newest version, or the version asked for."""
        if not self.exists():
            return Snapshot(None, (), -1)
        return snapshot_of(DeltaTable(str(self._path), version=version))

    def append(
        self,
        con: duckdb.DuckDBPyConnection,
        events: duckdb.DuckDBPyRelation,
        *,
        writer: str = "import",
    ) -> Appended:
        """Append the events (EVENTS schema, in order) that the log does not hold yet.

        All or nothing, in one Delta commit. A row is known when the log, or an earlier row of
        `events`, says the same under the same event_id. What does not fit in the connection's
        memory limit is spilled. The commit says who the `writer` is.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._path}.lock"):
            before = self.snapshot()
            events.create_view("incoming", replace=True)
            _create_held(con, before)
            con.execute(_STAGE_SQL)
            total, fresh = con.execute(
                "SELECT (SELECT count(*) FROM hashed), (SELECT count(*) FROM fresh)"
            ).fetchall()[0]
            version = before.version
            if fresh:
                # In the order of log_pos: neighbours in time share files and row groups.
                query = _POSITION_SQL.format(base=before.last_position)
                written = write_files(con, query, self._path)
                version = commit_files(self._path, written, writer=writer)
            con.execute(_CLEAN_SQL)
        return Appended(rows=fresh, known=total - fresh, version=version)

    def compact(self, *, keep: timedelta = timedelta(days=30)) -> int:
        """Merge small files; drop files no version younger than `keep` needs.

        Returns the number of files now in use.
        """
        if not self.exists():
            return 0
        with FileLock(f"{self._path}.lock"):
            ensure_properties(DeltaTable(str(self._path)))
            table = DeltaTable(str(self._path))
            table.optimize.compact(commit_properties=CommitProperties(_COMPACTION))
            table.vacuum(
                retention_hours=int(keep.total_seconds() // 3600),
                dry_run=False,
                enforce_retention_duration=False,
                # Files of appends that were killed, too; the lock says that none is under way.
                full=True,
            )
            table.create_checkpoint()
            return len(DeltaTable(str(self._path)).file_uris())


def snapshot_of(table: DeltaTable) -> Snapshot:
    """The version that a table object holds."""
    actions = pa.table(table.get_add_actions(flatten=True))
    positions = actions.column("max.log_pos").to_pylist() if actions.num_rows else []
    # What erasure took away leaves no position to be given out again.
    given_out = table.transaction_version(POSITION_APP)
    positions.append(-1 if given_out is None else given_out)
    return Snapshot(table.version(), tuple(table.file_uris()), max(positions))


def _create_held(con: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
    """Make the identities of the rows in the snapshot queryable as `held`."""
    backend = ibis.duckdb.from_connection(con)
    rows = snapshot.rows(con).select("event_id", "content_hash", "event_month")
    backend.create_view("held", rows, overwrite=True)


def _latest(rows: Table, columns: Sequence[str]) -> Table:
    """The latest row per event_id, retracted ones left out, with only `columns`."""
    needed = dict.fromkeys([*columns, "event_id", "op", "received_time", "log_pos"])
    narrow = rows.select(*needed)
    newest_first = ibis.window(
        group_by=narrow.event_id,
        order_by=[narrow.received_time.desc(), narrow.log_pos.desc()],
    )
    ranked = narrow.mutate(_rank=ibis.row_number().over(newest_first))
    # By name: `.op` is a method of every Ibis table.
    return ranked.filter(ranked["_rank"] == 0, ranked["op"] == "upsert").select(*columns)


def _hash_term(name: str) -> str:
    """SQL text of one content field: equal values give equal text in every session."""
    if name == "event_time":
        return "epoch_us(event_time)::VARCHAR"
    if name in {"amount", "machine_score"}:
        return f"round({name} * {MICROS})::BIGINT::VARCHAR"
    return f"{name}::VARCHAR"


# Lengths keep neighbours apart, and a null differs from an empty text.
CONTENT_SQL: Final = "md5(concat({}))".format(
    ", ".join(
        f"coalesce(length({term}) || ':' || {term}, '-:')"
        for term in map(_hash_term, CONTENT_FIELDS)
    )
)
"""Hash of what a row says, in DuckDB; `log_content.content_hash` is its twin in Python."""

# The rows are held once; which of them are new is found on two narrow columns.
_STAGE_SQL: Final = f"""
CREATE OR REPLACE TEMP TABLE hashed AS
  SELECT {", ".join(EVENTS.names)},
         {CONTENT_SQL} AS content_hash,
         strftime(event_time, '%Y-%m') AS event_month,
         row_number() OVER () AS ordinal
  FROM incoming;
CREATE OR REPLACE TEMP TABLE fresh AS
  SELECT min(ordinal) AS ordinal
  FROM hashed
  ANTI JOIN (SELECT * FROM held
             WHERE event_month IN (SELECT DISTINCT event_month FROM hashed)) AS held
    USING (event_id, content_hash)
  GROUP BY event_id, content_hash;
"""

_POSITION_SQL: Final = f"""
  SELECT {{base}} + position AS log_pos, {", ".join(EVENTS.names)}, content_hash, event_month
  FROM hashed
  JOIN (SELECT ordinal, row_number() OVER (ORDER BY ordinal) AS position FROM fresh)
    USING (ordinal)
"""

_CLEAN_SQL: Final = """
DROP TABLE fresh;
DROP TABLE hashed;
DROP VIEW held;
DROP VIEW incoming;
"""
