"""Parquet files of the log, written by DuckDB within its memory limit, partitioned by month.

Delta's own writer keeps an open file of every month in memory beside DuckDB: an import of ten
million rows took three times the limit. DuckDB writes the files; Delta is told of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import duckdb
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.transaction import AddAction, create_table_with_add_actions

from feature_repo.history.schema import LOG

PARTITION: Final = "event_month"

_ROWS_PER_GROUP: Final = 32_768
_COPY: Final = (
    f"FORMAT parquet, PARTITION_BY ({PARTITION}), COMPRESSION zstd, "
    f"ROW_GROUP_SIZE {_ROWS_PER_GROUP}, APPEND, FILENAME_PATTERN '{{uuid}}', RETURN_STATS"
)


def write_files(con: duckdb.DuckDBPyConnection, query: str, folder: Path) -> list[AddAction]:
    """Write the rows of a query (LOG columns) below a table's folder.

    They are no part of the table before `commit_files`; a killed write leaves files that nothing
    refers to, which compaction removes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = str(folder).replace("'", "''")
    written = con.execute(f"COPY ({query}) TO '{target}' ({_COPY})").fetchall()
    return [_action(folder, *row[:2], columns=row[4]) for row in written]


def commit_files(folder: Path, added: list[AddAction]) -> int:
    """Make written files part of the table, in one commit; the version it makes."""
    properties = CommitProperties(
        custom_metadata={"rows": str(sum(json.loads(a.stats)["numRecords"] for a in added))}
    )
    schema = Schema.from_arrow(LOG)
    if DeltaTable.is_deltatable(str(folder)):
        DeltaTable(str(folder)).create_write_transaction(
            added, mode="append", schema=schema, partition_by=[PARTITION],
            commit_properties=properties,
        )  # fmt: skip
    else:
        create_table_with_add_actions(
            str(folder), schema, added, mode="error", partition_by=[PARTITION],
            commit_properties=properties,
        )  # fmt: skip
    return int(DeltaTable(str(folder)).version())


def _action(folder: Path, name: str, rows: int, *, columns: dict[str, Any]) -> AddAction:
    path = Path(name)
    stat = path.stat()
    positions = columns['"log_pos"']
    stats = {
        "numRecords": rows,
        "minValues": {"log_pos": int(positions["min"])},
        "maxValues": {"log_pos": int(positions["max"])},
        "nullCount": {"log_pos": 0},
    }
    return AddAction(
        path=str(path.relative_to(folder)),
        size=stat.st_size,
        partition_values={PARTITION: path.parent.name.removeprefix(f"{PARTITION}=")},
        modification_time=stat.st_mtime_ns // 1_000_000,
        data_change=True,
        stats=json.dumps(stats),
    )
