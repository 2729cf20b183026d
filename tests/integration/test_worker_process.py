"""A worker as a process: killed, stopped, and fed a message that kills it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from feature_repo.event import Event, EventType
from feature_repo.settings import Settings
from feature_repo.stream.envelope import pack, unpack
from feature_repo.stream.port import ONLINE, Queue
from feature_repo.stream.queue import open_queue

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

_WORKER = """
import os, sys, time
from feature_repo.logs import configure_logs
from feature_repo.settings import Settings
from feature_repo.stream.worker_process import serve_group

class Notes:
    def handle(self, events):
        if any(event.event_id == "deadly" for event in events):
            os._exit(9)
        if any(event.event_id == "slow" for event in events):
            print("slow", flush=True)
            time.sleep(1.0)
        with open(sys.argv[1], "a") as notes:
            notes.writelines(f"{event.event_id}\\n" for event in events)

configure_logs()
serve_group(Settings(), "online", Notes, metrics_port=int(sys.argv[2]))
"""

Started = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes"
    path.touch()
    return path


@pytest.fixture
def queue(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    monkeypatch.setenv("FORESEND_REDIS_URL", redis_url)
    made = open_queue(Settings())
    yield made
    made.close()


@pytest.fixture
def start(queue: Queue, notes: Path, port: int, tmp_path: Path) -> Iterator[Started]:
    """Starts a worker; those that still run are killed after the test."""
    running: list[subprocess.Popen[str]] = []

    def start_it() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _WORKER, str(notes), str(port)]
        with (tmp_path / "worker.log").open("a") as log:
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True))
        return running[-1]

    yield start_it
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_stop_finishes_the_batch_in_hand_and_leaves_the_rest(
    queue: Queue, start: Started, notes: Path
) -> None:
    _publish(queue, ["slow"])
    worker = start()
    assert worker.stdout is not None
    assert worker.stdout.readline() == "slow\n"
    _publish(queue, ["later"])

    worker.send_signal(signal.SIGTERM)
    code = worker.wait(timeout=20)

    assert code == 0
    assert notes.read_text() == "slow\n"
    behind = queue.backlog(ONLINE)
    assert (behind.messages, behind.pending) == (1, 0)


def test_kills_lose_nothing(queue: Queue, start: Started, notes: Path) -> None:
    wanted = [f"e{number}" for number in range(300)]
    for event_id in wanted:
        _publish(queue, [event_id])

    for lines in (20, 120, 220):
        worker = start()
        _wait_until(partial(_has_lines, notes, lines))
        worker.kill()
        worker.wait()
    start()
    _wait_until(lambda: queue.backlog(ONLINE).messages == 0)

    assert set(notes.read_text().splitlines()) == set(wanted)


def test_a_message_that_kills_its_worker_is_buried_and_no_other(
    queue: Queue, start: Started, notes: Path
) -> None:
    wanted = [f"e{number}" for number in range(20)]
    for event_id in [*wanted[:10], "deadly", *wanted[10:]]:
        _publish(queue, [event_id])

    deaths = 0
    while queue.backlog(ONLINE).messages and deaths < 20:
        worker = start()
        while worker.poll() is None and queue.backlog(ONLINE).messages:
            time.sleep(0.1)
        deaths += worker.poll() == 9

    (letter,) = queue.dead()
    assert [event.event_id for event in unpack(letter.body)] == ["deadly"]
    assert set(notes.read_text().splitlines()) == set(wanted)
    assert deaths <= 8


def test_readiness_follows_redis_and_metrics_are_served(
    queue: Queue, start: Started, port: int, notes: Path
) -> None:
    _publish(queue, ["e1"])
    start()
    _wait_until(lambda: notes.read_text() == "e1\n")
    _wait_until(lambda: _status(port, "/readyz") == 200)

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        told = answer.read().decode()

    assert 'foresend_worker_events_total{group="online"} 1.0' in told
    assert "foresend_queue_fullness_ratio" in told


def _publish(queue: Queue, event_ids: list[str]) -> None:
    events = [
        Event(
            event_id=event_id,
            type=EventType.OPENED,
            customer_id="c1",
            event_time=NOW - timedelta(hours=1),
            received_time=NOW,
        )
        for event_id in event_ids
    ]
    queue.publisher().publish([*pack(events)])


def _has_lines(notes: Path, count: int) -> bool:
    return len(notes.read_text().splitlines()) >= count


def _status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code
    except OSError:
        return 0


def _wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until, "did not come about within 60 s"
        time.sleep(0.05)
