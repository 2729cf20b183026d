"""Keeps the log in few files while micro-batches are appended, a little work at a time.

Files of a month are in tiers by their number of rows, each tier eight times the one below. Eight
files of a tier become one of the next. So a row is written anew once per tier, a merge takes at
most about a second, and a month has at most seven files per tier however often it is appended to.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.transaction import AddAction

from feature_repo.history import duck
from feature_repo.history.log_files import PARTITION, LogFile, commit_files, files_of, write_files
from feature_repo.settings import Settings

FAN_IN: Final = 8
"""Files of one tier that become one of the next."""

LARGEST: Final = 32_768
"""Files with this many rows or more are left to `foresend log compact`."""

WRITER: Final = "compaction"

_KEEP_HOURS: Final = 6
"""Readers that opened an older version have this long to finish."""

_VACUUM_EVERY: Final = 512
"""Commits between deletions of what nobody needs any more."""


class Upkeep:
    """What one writer knows of the log's files, and the merging of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.log_path
        self._months: defaultdict[str, list[LogFile]] = defaultdict(list)

    def look(self, table: DeltaTable) -> None:
        """Take in all files of a version."""
        self._months.clear()
        self.note(files_of(table))

    def note(self, files: Sequence[LogFile]) -> None:
        """Take in files that were added."""
        for file in files:
            self._months[file.month].append(file)

    def due(self, months: Sequence[str]) -> list[list[LogFile]]:
        """Groups of files of these months that it is time to merge."""
        return [group for month in months for group in _groups(self._months[month])]

    def merge(self, table: DeltaTable, files: Sequence[LogFile]) -> int:
        """Replace files of one month by one, in one commit; the version it makes."""
        paths = [str(self._folder / file.path) for file in files]
        with duck.connect(self._settings) as con:
            con.from_parquet(paths, hive_partitioning=True, union_by_name=True).create_view("parts")
            columns = f"* REPLACE ({PARTITION}::VARCHAR AS {PARTITION})"
            query = f"SELECT {columns} FROM parts ORDER BY log_pos"
            added = write_files(con, query, self._folder, data_change=False)
        now_ms = time.time_ns() // 1_000_000
        removed = [file.removal(now_ms, data_change=False) for file in files]
        version = commit_files(self._folder, added, writer=WRITER, removed=removed, table=table)
        month = files[0].month
        self._months[month] = [f for f in self._months[month] if f not in files]
        self.note([log_file(self._folder, action) for action in added])
        return version

    def vacuum(self, table: DeltaTable, before: int, after: int) -> bool:
        """Between two versions, now and then: delete merged files whose readers are gone."""
        if before // _VACUUM_EVERY == after // _VACUUM_EVERY:
            return False
        table.vacuum(
            retention_hours=_KEEP_HOURS,
            dry_run=False,
            enforce_retention_duration=False,
            commit_properties=CommitProperties({"writer": WRITER, "rows": "0"}),
        )
        return True


def log_file(folder: Path, action: AddAction) -> LogFile:
    """A file just written, as the table will list it."""
    metadata = pq.read_metadata(folder / action.path)
    position = metadata.schema.names.index("log_pos")
    last = metadata.row_group(metadata.num_row_groups - 1).column(position).statistics.max
    month = Path(action.path).parent.name.removeprefix(f"{PARTITION}=")
    return LogFile(action.path, month, metadata.num_rows, action.size, last)


def _groups(files: Sequence[LogFile]) -> list[list[LogFile]]:
    tiers: defaultdict[int, list[LogFile]] = defaultdict(list)
    for file in files:
        if file.rows < LARGEST:
            # The number of octal digits: 1 to 7 rows, 8 to 63, 64 to 511 ...
            tiers[(file.rows.bit_length() + 2) // 3].append(file)
    return [group for _, group in sorted(tiers.items()) if len(group) >= FAN_IN]
