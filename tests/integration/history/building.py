"""Installations for build tests: a log that grows, builds, and what the tables hold after them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_repo import contract
from feature_repo.history import duck
from feature_repo.history.build import BuildResult, build
from feature_repo.history.feature_table import FeatureTable
from feature_repo.history.log import EventLog
from feature_repo.history.schema import EVENTS
from feature_repo.settings import Settings
from tests.integration.history.histories import THROUGH, Row
from tests.integration.history.reference import Change


class Installation:
    """A home with one log and its feature tables."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, duckdb_threads=1)

    def append(self, history: Sequence[Row]) -> None:
        """Append rows to the log, in one go."""
        with duck.connect(self.settings) as con:
            events = con.from_arrow(pa.Table.from_pylist(list(history), schema=EVENTS))
            EventLog(self.settings.log_path).append(con, events)

    def build(self, *, full: bool = False, through: datetime = THROUGH) -> BuildResult:
        """Build the tables."""
        return build(self.settings, full=full, through=through)

    def table(self, view: str) -> FeatureTable:
        """One feature table."""
        return FeatureTable(view, self.settings.feature_path(view))

    def rows(self, view: str) -> list[str]:
        """Every cell of a table, floats by their shortest exact text, in one order."""
        return [repr(change) for change in self.changes(view)]

    def changes(self, view: str) -> list[Change]:
        """The rows of a table in one order."""
        with duck.connect(self.settings) as con:
            stored = self.table(view).rows(con).order_by("customer_id", "event_timestamp")
            rows = [row for batch in duck.stream(con, stored) for row in batch.to_pylist()]
        return [
            (row.pop("customer_id"), row.pop("event_timestamp"), _without_created(row))
            for row in rows
        ]

    def log(self) -> list[Row]:
        """The rows of the log in order."""
        with duck.connect(self.settings) as con:
            rows = EventLog(self.settings.log_path).snapshot().rows(con).order_by("log_pos")
            return [row for batch in duck.stream(con, rows) for row in batch.to_pylist()]

    def contents(self) -> dict[str, list[str]]:
        """Every cell of every table."""
        return {view: self.rows(view) for view in contract.VIEWS}


def _without_created(row: dict[str, Any]) -> dict[str, Any]:
    del row["created_timestamp"]
    return row


def digests(result: BuildResult) -> dict[str, tuple[int, str]]:
    """Rows and content digest of each table."""
    return {view: (table.rows, table.digest) for view, table in result.tables.items()}
