"""Placement readings: append-only, bitemporal, on Delta; read through DuckDB.

A reading is one number that one source gave about the mail of one UTC day from one sending domain
to one mailbox provider. Nothing is changed: a source that says something else later adds a row,
and "as known at K" is the latest row per key with `received_time <= K`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake
from filelock import FileLock

READINGS: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("sending_domain", pa.string(), nullable=False),
        pa.field("mailbox_provider", pa.string(), nullable=False),
        # The UTC day the mail was sent.
        pa.field("day", pa.date32(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        # What of the metric: an error reason, a kind of authentication, an IP, a reporter.
        pa.field("part", pa.string()),
        # Null: the source was asked and shows nothing, or took back what it had said.
        pa.field("value", pa.float64()),
        # Trials behind a share, null when the source does not tell.
        pa.field("n", pa.float64()),
        # When we held it: knowledge time.
        pa.field("received_time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("raw_ref", pa.string()),
    ]
)
"""Rows of the store; `mailbox_provider` is a family word of events, e.g. google."""

KEY: Final = ("source", "sending_domain", "mailbox_provider", "day", "metric", "part")
"""What a reading is about; the newest row of a key wins."""

# Counts rows in the order they were appended: of one moment, the later one wins.
_STORED: Final = pa.schema([*READINGS, pa.field("position", pa.int64(), nullable=False)])
_NAMES: Final = ", ".join(READINGS.names)
_KEYS: Final = ", ".join(KEY)
_MANY_FILES: Final = 64
_KEEP_HOURS: Final = 30 * 24


class Readings:
    """The readings in one folder. One writer at a time (a file lock); any number of readers."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, rows: pa.Table) -> int:
        """Add what the store does not say yet, in one commit; the number of rows added.

        A row is left out when the row in force at its own `received_time` says the same, so
        importing a file twice adds nothing. Of two rows of one key and one `received_time`, the
        one appended later, or further down in `rows`, wins.

        Raises:
            ValueError: a row lacks a field that must be there, or has a number that is none.
        """
        rows = rows.select(READINGS.names).cast(READINGS)
        _check(rows)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._path}.lock"), duckdb.connect(":memory:") as con:
            con.execute("SET TimeZone = 'UTC'")
            self._stored(con).create_view("held")
            con.register("incoming", rows)
            fresh = con.sql(_FRESH_SQL).to_arrow_table().cast(_STORED)
            if fresh.num_rows:
                self._commit(fresh)
        return int(fresh.num_rows)

    def as_known(self, con: duckdb.DuckDBPyConnection, at: datetime | None) -> pa.Table:
        """The newest reading of every key as known at `at`, that instant included; None: today.

        READINGS columns, in the order of the key. Readings without a value are there too.
        """
        stored = self._stored(con)
        known = stored if at is None else stored.filter(_until(at))
        newest = known.query(
            "known",
            f"SELECT {_NAMES} FROM known QUALIFY row_number() OVER (PARTITION BY {_KEYS} "
            f"ORDER BY received_time DESC, position DESC) = 1 ORDER BY {_KEYS}",
        )
        return newest.to_arrow_table().cast(READINGS)

    def all(self, con: duckdb.DuckDBPyConnection) -> pa.Table:
        """Every version of every reading, in the order of key and knowledge time."""
        ordered = self._stored(con).query(
            "stored", f"SELECT {_NAMES} FROM stored ORDER BY {_KEYS}, received_time, position"
        )
        return ordered.to_arrow_table().cast(READINGS)

    def _stored(self, con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        files = self._files()
        if not files:
            return con.from_arrow(_STORED.empty_table())
        return con.from_parquet(files, union_by_name=True)

    def _files(self) -> list[str]:
        if not DeltaTable.is_deltatable(str(self._path)):
            return []
        return list(DeltaTable(str(self._path)).file_uris())

    def _commit(self, fresh: pa.Table) -> None:
        properties = CommitProperties({"writer": "readings", "rows": str(fresh.num_rows)})
        write_deltalake(str(self._path), fresh, mode="append", commit_properties=properties)
        # A pull a day leaves a file a day; reading many small files is what takes time.
        if len(self._files()) >= _MANY_FILES:
            table = DeltaTable(str(self._path))
            table.optimize.compact()
            table.vacuum(
                retention_hours=_KEEP_HOURS, dry_run=False, enforce_retention_duration=False
            )


def _check(rows: pa.Table) -> None:
    for field in READINGS:
        column = rows[field.name]
        if not field.nullable and column.null_count:
            message = f"{column.null_count} readings have no {field.name}."
            raise ValueError(message)
    for name in ("value", "n"):
        if pc.any(pc.invert(pc.is_finite(rows[name]))).as_py():
            message = f"A reading has a {name} that is not a finite number; no number is null."
            raise ValueError(message)


def _until(at: datetime) -> duckdb.Expression:
    if at.tzinfo is None:
        message = f"at has value {at!r}, a time without its zone; pass an aware time."
        raise ValueError(message)
    column = duckdb.ColumnExpression("received_time")
    return column <= duckdb.ConstantExpression(at)


_FRESH_SQL: Final = f"""
WITH numbered AS (
  SELECT {_NAMES},
         (SELECT coalesce(max(position), -1) FROM held) + row_number() OVER () AS position
  FROM incoming
), versions AS (
  SELECT {_NAMES}, position, true AS is_held FROM held
  UNION ALL
  SELECT {_NAMES}, position, false AS is_held FROM numbered
  QUALIFY row_number() OVER (PARTITION BY {_KEYS}, received_time ORDER BY position DESC) = 1
), compared AS (
  SELECT *,
         row_number() OVER in_time AS version,
         value IS NOT DISTINCT FROM lag(value) OVER in_time
           AND n IS NOT DISTINCT FROM lag(n) OVER in_time AS is_known
  FROM versions
  WINDOW in_time AS (PARTITION BY {_KEYS} ORDER BY received_time, position)
)
SELECT {_NAMES}, position FROM compared
WHERE NOT is_held AND (version = 1 OR NOT is_known)
ORDER BY position
"""
