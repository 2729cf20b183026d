"""The scheduler as its user runs it: a kill in the middle of a job, and the next start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from filelock import FileLock

from feature_repo.event import Event, EventType
from feature_repo.history import duck
from feature_repo.history.log import EventLog
from feature_repo.history.schema import EVENTS
from feature_repo.settings import Settings
from infra.scheduler.ledger import Ledger, Run, State
from infra.stack.ports import free_port

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

NOW = datetime.now(UTC)
CLI = [sys.executable, "-m", "infra.cli"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation with a log, and a weekly job that was missed four times."""
    made = Settings(home=tmp_path / "home", config=tmp_path / "foresend.yaml")
    assert made.config is not None
    made.config.write_text(
        "targets: {click_7d: {event: clicked, horizon_days: 7, spine: sent}}\n"
        'schedule: {jobs: {compact: {cron: "0 3 * * MON", run: [log, compact]}}}\n'
    )
    event = Event(
        event_id="e1",
        type=EventType.SENT,
        customer_id="c1",
        event_time=NOW - timedelta(days=40),
        received_time=NOW - timedelta(days=40),
    )
    with duck.connect(made) as con:
        rows = con.from_arrow(pa.Table.from_pylist([asdict(event)], EVENTS))
        EventLog(made.log_path).append(con, rows)
    Ledger(made).covered("compact", NOW - timedelta(days=28))
    return made


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []

    def start_it() -> subprocess.Popen[bytes]:
        argv = [*CLI, "scheduler", "--metrics-port", str(port_of(tmp_path))]
        with (tmp_path / "scheduler.log").open("ab") as log:
            running.append(
                subprocess.Popen(argv, env=environment(settings), stdout=log, stderr=log)
            )
        return running[-1]

    yield start_it
    for process in running:
        process.kill()
        process.wait()
    for run in Ledger(settings).runs(state=State.RUNNING):
        if run.child is not None and psutil.pid_exists(run.child.pid):
            os.killpg(run.child.pid, signal.SIGKILL)


def environment(settings: Settings) -> dict[str, str]:
    return os.environ | {
        "FORESEND_HOME": str(settings.home),
        "FORESEND_CONFIG": str(settings.config),
    }


def port_of(folder: Path) -> int:
    """One port for all starts of a test."""
    note = folder / "port"
    if not note.exists():
        note.write_text(str(free_port(0)))
    return int(note.read_text())


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, "did not come about within 60 s"
        time.sleep(0.05)


def working(settings: Settings) -> list[Run]:
    return [run for run in Ledger(settings).runs(state=State.RUNNING) if run.child]


def answers(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_a_kill_during_a_job_is_made_good_once(
    settings: Settings, start: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    ledger = Ledger(settings)
    # Compaction waits for whoever writes the log: the job runs until we let it.
    with FileLock(f"{settings.log_path}.lock"):
        first = start()
        until(lambda: bool(working(settings)))
        (killed,) = working(settings)
        assert killed.child is not None
        first.kill()
        first.wait()
        assert psutil.pid_exists(killed.child.pid)

        second = start()
        until(lambda: any(run.id != killed.id for run in working(settings)))
        assert not psutil.pid_exists(killed.child.pid)
    until(lambda: not ledger.runs(state=State.RUNNING))
    until(lambda: "ready" in answers(port_of(tmp_path), "/readyz"))
    told = answers(port_of(tmp_path), "/metrics")
    second.send_signal(signal.SIGTERM)
    code = second.wait(timeout=30)

    assert code == 0
    assert [run.state for run in ledger.runs()] == [State.DONE, State.INTERRUPTED]
    assert ledger.runs()[0].due == killed.due
    assert "foresend_schedule_leader 1.0" in told
    assert 'foresend_schedule_runs_total{job="compact",state="interrupted"} 1.0' in told

    listed = subprocess.run(
        [*CLI, "schedule", "history", "--json"],
        env=environment(settings),
        check=True,
        capture_output=True,
        text=True,
    )
    newest, oldest = json.loads(listed.stdout)["runs"]
    assert (newest["state"], newest["exit_code"], oldest["state"]) == ("done", 0, "interrupted")
    assert "The event log is in" in Path(newest["log"]).read_text()


def test_a_job_by_hand_shows_its_words_and_ends_with_its_code(settings: Settings) -> None:
    done = subprocess.run(
        [*CLI, "schedule", "run", "compact"],
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0
    assert "The event log is in" in done.stdout
    assert [run.by.value for run in Ledger(settings).runs()] == ["hand"]
