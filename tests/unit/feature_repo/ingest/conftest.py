"""What the tests of the import share: an installation of their own and small files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from feature_repo.history import duck
from feature_repo.history.log import EventLog
from feature_repo.ingest.importer import import_files
from feature_repo.ingest.known_at import parse_known_at
from feature_repo.ingest.mapping import Mapping
from feature_repo.ingest.outcome import ImportSummary
from feature_repo.settings import Settings

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)

Run = Callable[..., ImportSummary]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", duckdb_memory_limit="500MB", duckdb_threads=1)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file; returns its path."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def run(settings: Settings) -> Run:
    """Import files at NOW."""

    def run(
        *files: Path, mapping: Mapping | None = None, known_at: str | None = "event_time+2h"
    ) -> ImportSummary:
        return import_files(
            settings,
            files,
            mapping=mapping,
            known_at=None if known_at is None else parse_known_at(known_at),
            clock=lambda: NOW,
        )

    return run


@pytest.fixture
def log_rows(settings: Settings) -> Callable[[], list[dict[str, Any]]]:
    """Every row of the log in log order."""

    def rows() -> list[dict[str, Any]]:
        with duck.connect(settings) as con:
            table = EventLog(settings.log_path).snapshot().rows(con).order_by("log_pos")
            return [row for batch in duck.stream(con, table) for row in batch.to_pylist()]

    return rows
