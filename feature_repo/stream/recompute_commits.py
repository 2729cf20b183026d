"""Which rows of the log were written by whom, read from its commits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deltalake import DeltaTable

from feature_repo.history.log import snapshot_of
from feature_repo.history.log_writer import ARCHIVE

Range = tuple[int, int]
"""First and last log_pos."""

_MOST_COMMITS: Final = 2_000
"""Commits looked through; reading so many takes about a second."""


def foreign_ranges(folder: Path, *, after: int) -> list[Range]:
    """Rows after a position that others than the archive wrote, newest first.

    Rows whose commit is no longer recorded count as foreign: nobody can say that they came through
    the stream.
    """
    if not DeltaTable.is_deltatable(str(folder)):
        return []
    table = DeltaTable(str(folder))
    last = snapshot_of(table).last_position
    ranges: list[Range] = []
    for writer, rows in _commits(table):
        if last <= after:
            break
        if rows and writer != ARCHIVE:
            ranges.append((max(last - rows, after) + 1, last))
        last -= rows
    if last > after:
        ranges.append((after + 1, last))
    return ranges


def _commits(table: DeltaTable) -> Iterator[tuple[str | None, int]]:
    """Writer and number of added rows of each recorded commit, newest first."""
    seen = 0
    # Most calls need a few commits, and each is a file to read.
    for limit in (32, _MOST_COMMITS):
        commits = table.history(limit)
        for commit in commits[seen:]:
            yield commit.get("writer"), int(commit.get("rows", 0))
        if len(commits) < limit:
            return
        seen = len(commits)
