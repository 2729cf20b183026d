"""An import that is killed at any moment has changed nothing, and the next one finishes the job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from feature_repo.history import duck
from feature_repo.history.log import EventLog
from feature_repo.settings import Settings

pytestmark = [
    pytest.mark.integration,
    # Ibis 12 calls it on DuckDB 2.
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

ROWS = 60_000
PROGRAM = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from feature_repo.ingest.importer import import_files
from feature_repo.ingest.known_at import parse_known_at
from feature_repo.settings import load_settings

def progress(step, done, total):
    print(step, done, flush=True)

import_files(load_settings(), [Path(sys.argv[1])], known_at=parse_known_at("event_time+2h"),
             clock=lambda: datetime.now(UTC), progress=progress)
print("finished", flush=True)
"""


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events of which every hundredth is bad."""
    path = tmp_path_factory.mktemp("files") / "events.csv"
    with duckdb.connect() as con:
        con.execute(f"""COPY (
            SELECT 'e' || i AS event_id, 'purchased' AS type, 'c' || i % 977 AS customer_id,
                   strftime(TIMESTAMP '2023-01-01' + to_minutes(i), '%Y-%m-%dT%H:%M:%SZ')
                     AS event_time,
                   CASE WHEN i % 100 = 0 THEN 'nan' ELSE (i / 7)::VARCHAR END AS amount
            FROM range({ROWS}) AS t(i)) TO '{path}'""")
    return path


def start(home: Path, file: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "FORESEND_HOME": str(home), "FORESEND_DUCKDB_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(file)], env=environ, stdout=subprocess.PIPE, text=True
    )


def content(home: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Every row of the log, and the lines of the quarantine files."""
    settings = Settings(home=home)
    with duck.connect(settings) as con:
        table = EventLog(settings.log_path).snapshot().rows(con).order_by("log_pos")
        rows = [row for batch in duck.stream(con, table) for row in batch.to_pylist()]
    files = sorted(settings.quarantine_path.glob("*"))
    return rows, [line for file in files for line in file.read_text().splitlines()]


def run_to_the_end(home: Path, file: Path) -> None:
    output, _ = start(home, file).communicate(timeout=120)
    assert output.endswith("finished\n")


def kill_when(home: Path, file: Path, reached: Callable[[str], bool], delay_s: float) -> bool:
    """Kill an import `delay_s` after it says a line; whether that was before its end."""
    process = start(home, file)
    assert process.stdout is not None
    for line in process.stdout:
        if reached(line):
            break
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.stdout.close()
    process.wait(timeout=30)
    return "finished" not in rest


@pytest.fixture(scope="module")
def undisturbed(
    big_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, Any]], list[str]]:
    home = tmp_path_factory.mktemp("undisturbed")
    run_to_the_end(home, big_file)
    return content(home)


@pytest.mark.parametrize(
    ("step", "delay_s"),
    [
        ("checking", 0.0),
        ("reading", 0.0),
        ("reading", 0.2),
        # Around the commit: some of these hit the files, some the commit, some the end.
        *(("appending", delay) for delay in (0.0, 0.1, 0.2, 0.4, 0.8)),
    ],
)
def test_an_import_killed_and_run_again_equals_an_undisturbed_one(
    tmp_path: Path,
    big_file: Path,
    undisturbed: tuple[list[dict[str, Any]], list[str]],
    step: str,
    delay_s: float,
) -> None:
    kill_when(tmp_path, big_file, lambda line: line.startswith(step), delay_s)
    after_kill = EventLog(Settings(home=tmp_path).log_path).snapshot()

    run_to_the_end(tmp_path, big_file)

    assert after_kill.last_position in {-1, ROWS * 99 // 100 - 1}  # nothing, or all
    assert undisturbed == content(tmp_path)
    assert not list(Settings(home=tmp_path).scratch_path.iterdir())  # swept


def test_the_kill_in_the_middle_really_is_in_the_middle(tmp_path: Path, big_file: Path) -> None:
    assert kill_when(tmp_path, big_file, lambda line: line.startswith("reading"), 0.0)
    assert list(Settings(home=tmp_path).scratch_path.iterdir())
    assert not EventLog(Settings(home=tmp_path).log_path).exists()
