"""Segments whose runner or server dies, whose store freezes, or whom nobody wants any more.

A frozen Redis holds a job where it is, so that what is done to it is done in its middle.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from tests.integration.audience_client import (
    CSV,
    Client,
    keys_of,
    long_segment,
    open_client,
    parquet,
    runners,
)
from tests.integration.honest_load import check_row
from tests.integration.shelved_api import CUSTOMERS, environment, fill, name, scores
from tests.integration.test_serving_process import TARGET, until
from tests.integration.test_serving_store import own_redis as own_redis
from tests.integration.test_serving_workers import series

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ROWS = 200_000
_REPLACED = "foresend_serving_worker_replacements_total"
Own = tuple[str, "subprocess.Popen[bytes]"]


@pytest.fixture
def key(tmp_path: Path) -> str:
    return keys_of(tmp_path / "home")["score"]


@pytest.fixture
def url(own_redis: Own) -> str:
    fill(own_redis[0])
    return own_redis[0]


@contextmanager
def frozen(own: Own) -> Iterator[None]:
    own[1].send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        own[1].send_signal(signal.SIGCONT)


def check_all(rows: list[dict[str, Any]], count: int = ROWS) -> None:
    expected = scores(range(CUSTOMERS))
    assert len(rows) == count
    for place, row in enumerate(rows):
        number = place % CUSTOMERS
        assert (row["customer_id"], row["score"]) == (name(number), expected[number])
        assert row["degraded"] is None


def test_a_job_whose_runner_was_killed_is_begun_again(
    own_redis: Own, url: str, tmp_path: Path, key: str
) -> None:
    with open_client(tmp_path / "home", url, key) as client:
        job = client.submit(long_segment(ROWS))
        client.until_begun(job)
        with frozen(own_redis):
            (runner,) = runners(client.api)
            runner.kill()
            until(lambda: not runner.is_running() or runner.pid not in _pids(client), "it is gone")
        check_all(client.rows(job))

        done = client.job(job)
        assert (done["state"], done["scored"], done["attempts"]) == ("done", ROWS, 2)
        assert sorted(path.name for path in (client.api.home / "audience" / job).iterdir()) == [
            "customers.parquet",
            "job.json",
            "scores.parquet",
        ]
        assert client.api.stop() == 0


def _pids(client: Client) -> set[int]:
    return {runner.pid for runner in runners(client.api)}


def test_what_a_stopped_server_leaves_the_next_one_finishes(
    own_redis: Own, url: str, tmp_path: Path, key: str
) -> None:
    home = tmp_path / "home"
    with open_client(home, url, key) as client:
        job = client.submit(long_segment(ROWS))
        waiting = client.submit(parquet([name(3)]))
        client.until_begun(job)
        with frozen(own_redis):
            left = runners(client.api)
            assert client.api.stop() == 0
            assert psutil.wait_procs(left, timeout=30)[1] == []
        told = json.loads((home / "audience" / job / "job.json").read_text())
        assert (told["state"], told["attempts"]) == ("queued", 0)
        assert not (home / "audience" / job / "scores.parquet").exists()

    with open_client(home, url, key) as client:
        check_all(client.rows(job))
        assert [row["customer_id"] for row in client.rows(waiting)] == [name(3)]
        assert client.api.stop() == 0


def test_stopping_is_not_dying_however_often_it_happens(
    own_redis: Own, url: str, tmp_path: Path, key: str
) -> None:
    home = tmp_path / "home"
    job = ""
    for _ in range(4):
        with open_client(home, url, key) as client:
            job = job or client.submit(long_segment(ROWS))
            client.until_begun(job)
            with frozen(own_redis):
                assert client.api.stop() == 0

    with open_client(home, url, key) as client:
        assert client.until(job, "done", "failed")["problem"] is None
        check_all(client.rows(job))


def test_a_job_is_cancelled_in_its_middle_and_leaves_no_result(
    own_redis: Own, url: str, tmp_path: Path, key: str
) -> None:
    with open_client(tmp_path / "home", url, key) as client:
        job = client.submit(long_segment(ROWS))
        client.until_begun(job)
        with frozen(own_redis):
            assert client.get(f"/{job}/result").status_code == 409
            assert client.delete(job).status_code == 200
        told = client.until(job, "cancelled")

        assert 0 < told["scored"] < ROWS
        assert client.get(f"/{job}/result").status_code == 409
        assert not list((client.api.home / "audience" / job).glob("*scores*"))
        # The next one does not wait for it.
        assert len(client.rows(client.submit(parquet([name(1)])))) == 1


def test_jobs_that_wait_are_told_apart_bounded_and_cancelled(
    own_redis: Own, url: str, tmp_path: Path, key: str
) -> None:
    bound = {"FORESEND_SERVING_AUDIENCE_JOBS": "3"}
    with open_client(tmp_path / "home", url, key, **bound) as client:
        first = client.submit(long_segment(ROWS))
        client.until_begun(first)
        with frozen(own_redis):
            second, third = (client.submit(parquet([name(n)])) for n in (1, 2))
            refused = client.post(parquet(["x"]), "application/vnd.apache.parquet")
            assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
            assert client.delete(second).json()["state"] == "cancelled"
            assert [job["id"] for job in client.get().json()] == [third, second, first]
        assert [row["customer_id"] for row in client.rows(third)] == [name(2)]
        assert client.job(second)["state"] == "cancelled"
        check_all(client.rows(first))


def test_single_answers_go_on_meanwhile(url: str, tmp_path: Path, key: str) -> None:
    told: list[dict[str, Any]] = []
    stop = threading.Event()
    with open_client(tmp_path / "home", url, key) as client:

        def ask() -> None:
            while not stop.wait(0.02):
                told.extend(client.score([name(7)]))

        job = client.submit(long_segment(ROWS))
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        progress = []
        while (now := client.job(job))["state"] in {"queued", "running"}:
            progress.append(now["scored"])
            stop.wait(0.05)
        stop.set()
        for thread in threads:
            thread.join()

        check_all(client.rows(job))
    assert progress == sorted(progress)
    assert len(set(progress)) > 2
    assert len(told) > 20
    assert {check_row(row, 7) for row in told} == {None}


def test_workers_that_are_replaced_do_not_use_up_the_attempts_of_a_job(
    url: str, tmp_path: Path, key: str
) -> None:
    home = tmp_path / "home"
    with open_client(home, url, key, "--workers", "3") as client:
        job = client.submit(long_segment(3 * ROWS))
        client.until_begun(job)
        pid_file = next((home / "state").glob("serve-*.pid"))
        for turn in (1, 2):
            psutil.Process(int(pid_file.read_text())).send_signal(signal.SIGHUP)
            until(
                lambda turn=turn: series(client.api, _REPLACED) == 3 * turn, "all workers are new"
            )
        check_all(client.rows(job), 3 * ROWS)
        assert client.api.stop() == 0


def until_replaced(client: Client, workers: int) -> None:
    until(lambda: series(client.api, _REPLACED) == workers, "all workers are new")


def foresend(home: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as a user gives it."""
    command = [sys.executable, "-m", "infra.cli", *arguments]
    return subprocess.run(
        command, env=environment(home, url), capture_output=True, text=True, check=False
    )


def test_the_command_scores_a_file_without_a_server(url: str, tmp_path: Path, key: str) -> None:
    home, out = tmp_path / "home", tmp_path / "scores.parquet"
    with open_client(home, url, key) as client:
        rows = client.rows(client.submit(f"customer_id\n{name(3)}\n".encode(), CSV))
    file = tmp_path / "some.csv"
    file.write_text(f"email,customer_id\na@example.com,{name(3)}\nb@example.com,nobody\n")
    good = ["audience", "score", str(file), "--target", TARGET, "--out", str(out), "--json"]

    done = foresend(home, url, *good)

    assert done.returncode == 0, done.stderr
    (known, nobody) = pq.read_table(out).to_pylist()
    assert known["score"] == rows[0]["score"]
    assert nobody["degraded"] == "unknown_customer"
    assert not list(tmp_path.glob(".audience-*"))
    out.unlink()
    (tmp_path / "bad.csv").write_text("id\n1\n")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1" + b"\x00" * 400 + b"PAR1")
    for change, told in [
        ((2, str(tmp_path / "none.csv")), "none.csv"),
        ((2, str(tmp_path / "bad.csv")), "customer_id"),
        ((2, str(tmp_path / "bad.parquet")), "customer_id"),
        ((2, str(tmp_path)), str(tmp_path)),
        ((4, "nothing_7d"), "nothing_7d"),
        ((6, str(tmp_path / "nowhere" / "x.parquet")), "nowhere"),
    ]:
        bad = [*good]
        bad[change[0]] = change[1]
        refused = foresend(home, url, *bad)
        assert refused.returncode == 2, (change, refused.returncode, refused.stderr)
        assert told in refused.stderr.replace("\n", ""), refused.stderr
        assert "Traceback" not in refused.stderr
        assert not out.exists()
    at = foresend(home, url, *good, "--send-at", "tomorrow")
    assert (at.returncode, "send_at" in at.stderr) == (2, True), at.stderr
