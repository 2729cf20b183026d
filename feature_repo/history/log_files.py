"""Parquet files of the log and the commits that make them part of it.

Imports are written by DuckDB within its memory limit, partitioned by month: Delta's own writer
keeps an open file of every month in memory beside DuckDB and took three times the limit for ten
million rows. Micro-batches are written from Arrow. Delta is told of the files; of their content,
its log holds row counts and positions only, nothing of a person.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from feature_repo.history.schema import LOG

PARTITION: Final = "event_month"

POSITION_APP: Final = "foresend.log_pos"
"""Delta application id under which a commit that takes rows away notes the greatest log_pos ever
given out, so that no position is given out twice."""

PROPERTIES: Final = {
    # Statistics of log_pos alone: those of other columns would hold names and addresses.
    "delta.dataSkippingNumIndexedCols": "1",
    # A commit replays what came since the checkpoint: 4 ms right after one, 70 ms 100 commits on.
    "delta.checkpointInterval": "20",
    # The archive commits every second or so; what it merged is kept this long for readers.
    "delta.logRetentionDuration": "interval 12 hours",
    "delta.deletedFileRetentionDuration": "interval 12 hours",
}

_ROWS_PER_GROUP: Final = 32_768
_COPY: Final = (
    f"FORMAT parquet, PARTITION_BY ({PARTITION}), COMPRESSION zstd, "
    f"ROW_GROUP_SIZE {_ROWS_PER_GROUP}, APPEND, FILENAME_PATTERN '{{uuid}}', RETURN_STATS"
)


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of the log's newest version."""

    path: str
    month: str
    rows: int
    size: int
    #: Greatest log_pos in it.
    last_position: int

    def removal(self, at_ms: int, *, data_change: bool) -> RemoveAction:
        """The action that takes the file out of the table."""
        return RemoveAction(self.path, data_change, at_ms, self.size, {PARTITION: self.month})


def files_of(table: DeltaTable) -> list[LogFile]:
    """The files of the version that the table object holds."""
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return [
        LogFile(
            path=action["path"],
            month=action[f"partition.{PARTITION}"],
            rows=action["num_records"],
            size=action["size_bytes"],
            last_position=action["max.log_pos"],
        )
        for action in actions
    ]


def write_files(
    con: duckdb.DuckDBPyConnection, query: str, folder: Path, *, data_change: bool = True
) -> list[AddAction]:
    """Write the rows of a query (LOG columns) below a table's folder.

    They are no part of the table before `commit_files`; a killed write leaves files that nothing
    refers to, which compaction removes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = str(folder).replace("'", "''")
    written = con.execute(f"COPY ({query}) TO '{target}' ({_COPY})").fetchall()
    return [
        _action(
            folder,
            Path(name),
            rows,
            bounds=(int(columns['"log_pos"']["min"]), int(columns['"log_pos"']["max"])),
            data_change=data_change,
        )
        for name, rows, _, _, columns, *_ in written
    ]


def write_batch(rows: pa.Table, folder: Path) -> list[AddAction]:
    """Write a micro-batch (LOG columns, in the order of log_pos), one file per month."""
    actions = []
    for month in pc.unique(rows[PARTITION]).to_pylist():
        part = rows.filter(pc.equal(rows[PARTITION], month)).drop_columns([PARTITION])
        path = folder / f"{PARTITION}={month}" / f"{uuid.uuid4()}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            part, path, compression="zstd", coerce_timestamps="us", write_statistics=["log_pos"]
        )
        positions = part["log_pos"]
        bounds = (positions[0].as_py(), positions[-1].as_py())
        actions.append(_action(folder, path, part.num_rows, bounds=bounds, data_change=True))
    return actions


def commit_files(
    folder: Path,
    added: Sequence[AddAction],
    *,
    writer: str,
    removed: Sequence[RemoveAction] = (),
    last_position: int | None = None,
    table: DeltaTable | None = None,
) -> int:
    """Make written files part of the table, and removed ones not, in one commit; its version.

    On the disk when it returns. `last_position` is noted for good, see POSITION_APP. `table` is
    an open table object to commit with; it stays at the version it has.
    """
    _sync(folder / action.path for action in added)
    rows = sum(json.loads(action.stats)["numRecords"] for action in added)
    properties = CommitProperties(
        custom_metadata={"writer": writer, "rows": str(rows if not removed else 0)},
        app_transactions=[Transaction(POSITION_APP, last_position)]
        if last_position is not None
        else None,
    )
    schema = Schema.from_arrow(LOG)
    if table is None and DeltaTable.is_deltatable(str(folder)):
        table = DeltaTable(str(folder))
    if table is not None:
        table.create_write_transaction(
            [*added, *removed], mode="append", schema=schema, partition_by=[PARTITION],
            commit_properties=properties,
        )  # fmt: skip
    else:
        create_table_with_add_actions(
            str(folder), schema, list(added), mode="error", partition_by=[PARTITION],
            configuration=PROPERTIES, commit_properties=properties,
        )  # fmt: skip
    version = newest_version(folder, after=-1 if table is None else table.version())
    _sync([commit_path(folder, version)])
    return version


def commit_path(folder: Path, version: int) -> Path:
    """The file whose appearance makes a version."""
    return folder / "_delta_log" / f"{version:020}.json"


def newest_version(folder: Path, *, after: int) -> int:
    """The newest version, found by looking for the one after a known one."""
    version = after
    while commit_path(folder, version + 1).exists():
        version += 1
    return version


def ensure_properties(table: DeltaTable) -> bool:
    """Give a table made before there were PROPERTIES its own; whether that took a commit."""
    held = table.metadata().configuration
    missing = {name: value for name, value in PROPERTIES.items() if held.get(name) != value}
    if missing:
        table.alter.set_table_properties(missing)
    return bool(missing)


def _sync(paths: Any) -> None:
    """Have files and the folders that name them on the disk, not only in the system's memory."""
    folders = set()
    for path in paths:
        _sync_one(path)
        folders.add(path.parent)
    for folder in folders:
        _sync_one(folder)


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _action(
    folder: Path, path: Path, rows: int, *, bounds: tuple[int, int], data_change: bool
) -> AddAction:
    stat = path.stat()
    stats = {
        "numRecords": rows,
        "minValues": {"log_pos": bounds[0]},
        "maxValues": {"log_pos": bounds[1]},
        "nullCount": {"log_pos": 0},
    }
    return AddAction(
        path=str(path.relative_to(folder)),
        size=stat.st_size,
        partition_values={PARTITION: path.parent.name.removeprefix(f"{PARTITION}=")},
        modification_time=stat.st_mtime_ns // 1_000_000,
        data_change=data_change,
        stats=json.dumps(stats),
    )
