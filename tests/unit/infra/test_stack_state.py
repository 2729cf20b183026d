from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from feature_repo import addresses
from feature_repo.errors import NotReady, StoreUnavailable
from feature_repo.settings import Settings
from infra.stack.state import (
    Running,
    Stack,
    end_orphans,
    observe,
    only_stack,
    read_stack,
    stack_file,
    this_process,
    write_stack,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def _sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_what_is_written_is_read_back(settings: Settings) -> None:
    stack = Stack(this_process(), {"redis": Running(1, 2.0, "redis://127.0.0.1:1/0", "ready", 3)})

    write_stack(settings, stack)

    assert read_stack(settings) == stack


def test_without_a_stack_there_is_no_state(settings: Settings) -> None:
    assert read_stack(settings) is None
    assert end_orphans(settings) == []


def test_a_pid_that_now_belongs_to_another_process_does_not_count_as_alive() -> None:
    assert observe(os.getpid()).alive
    assert not Running(os.getpid(), created=1.0).alive


def test_only_one_stack_runs_for_a_home(settings: Settings) -> None:
    second = only_stack(settings)

    with only_stack(settings), pytest.raises(NotReady, match="foresend status"):
        second.__enter__()


def test_children_of_a_killed_supervisor_are_ended(settings: Settings) -> None:
    with _sleeper() as child:
        write_stack(settings, Stack(Running(1, 0.0), {"redis": observe(child.pid)}))

        ended = end_orphans(settings)

        assert ended == ["redis"]
        assert not psutil.pid_exists(child.pid)
        assert not stack_file(settings).exists()


def test_a_stranger_with_a_recycled_pid_is_left_alone(settings: Settings) -> None:
    with _sleeper() as child:
        write_stack(settings, Stack(Running(1, 0.0), {"redis": Running(child.pid, 1.0)}))

        assert end_orphans(settings) == []
        assert child.poll() is None
        child.kill()


def test_the_address_of_a_running_stack_is_found(settings: Settings) -> None:
    url = "redis://127.0.0.1:7000/0"
    write_stack(settings, Stack(this_process(), {"redis": observe(os.getpid(), url=url)}))

    assert addresses.redis_url(settings) == url


def test_no_redis_anywhere_names_both_cures(settings: Settings) -> None:
    with pytest.raises(StoreUnavailable, match=r"foresend up.*FORESEND_REDIS_URL"):
        addresses.redis_url(settings)


def test_without_a_server_mlflow_is_the_embedded_database(settings: Settings) -> None:
    assert addresses.mlflow_uri(settings).startswith("sqlite:///")
    assert addresses.mlflow_uri(settings).endswith("/mlflow/mlflow.db")
