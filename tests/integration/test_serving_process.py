"""The served API as a process of its own, over a real Redis and a real MLflow server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from feature_repo.api_keys import KeyFile, Scope, keys_path
from feature_repo.settings import Settings
from serving.calibrator import Platt
from serving.encoder import Encoder
from serving.logistic import LevelTerm, Logistic, NumberTerm
from serving.model import ScoringModel
from serving.prediction_log import read_predictions
from tests.conftest import _free_port
from tests.integration.test_serving_store import PROJECT, fill, own_redis  # noqa: F401

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

TARGET = "purchase_30d"
CONFIG = "targets: {purchase_30d: {event: purchased, horizon_days: 30, spine: weekly}}\n"
SERVE = (
    "from feature_repo.settings import load_settings; from serving.server import serve; "
    "serve(load_settings(), host='127.0.0.1', port={port}, insecure_local={insecure})"
)
LIMITS = {
    "FORESEND_SERVING_REGISTRY_POLL_S": "0.2",
    # Machines that run tests stall for longer than a server should wait.
    "FORESEND_SERVING_REDIS_READ_TIMEOUT_S": "1",
    "FORESEND_SERVING_REDIS_CONNECT_TIMEOUT_S": "1",
    "FORESEND_SERVING_STALE_AFTER_S": "1e9",
}


def model_with(intercept: float) -> ScoringModel:
    """A small real model."""
    return ScoringModel(
        target=TARGET,
        feature_service="send_score_v1",
        encoder=Encoder(("opens_30d", "country", "opens_d28"), {"country": ("DE", "FR")}),
        estimator=Logistic(
            intercept,
            (
                NumberTerm("opens_30d", 0.0, 1e6, 1.0, 2.0, 0.5, 0.1),
                NumberTerm("opens_d28", 0.0, 1e6, 0.0, 1.0, 0.2, 0.0),
            ),
            (LevelTerm("country", (0.3, -0.3), 0.0),),
        ),
        calibrator=Platt(1.0, 0.0),
        trained_through="2026-11-01T00:00:00+00:00",
        base_rate=0.04,
    )


def register(url: str, folder: Path, model: ScoringModel, *, promote: bool = True) -> str:
    """A new version of the target's model, as training lays its artifacts; its number."""
    client = MlflowClient(url)
    experiment = client.get_experiment_by_name("serving-tests")
    experiment_id = (
        experiment.experiment_id if experiment else client.create_experiment("serving-tests")
    )
    run = client.create_run(experiment_id)
    model.save(folder / "runtime")
    mlflow.set_tracking_uri(url)
    client.log_artifacts(run.info.run_id, str(folder / "runtime"), "runtime")
    if not client.search_registered_models(f"name = '{TARGET}'"):
        client.create_registered_model(TARGET)
    version = client.create_model_version(TARGET, run.info.artifact_uri, run.info.run_id)
    if promote:
        client.set_registered_model_alias(TARGET, "champion", version.version)
    return str(version.version)


@dataclass
class Api:
    """A running `foresend serve`."""

    process: subprocess.Popen[bytes]
    url: str
    home: Path

    def ask(self, *customers: str, **more: Any) -> httpx.Response:
        body = {"target": TARGET, "customers": [{"customer_id": c} for c in customers]}
        return httpx.post(f"{self.url}/v1/score", json=body, timeout=30, **more)

    def ready(self) -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{self.url}/readyz", timeout=30)
        return answer.status_code, answer.json()

    def served(self) -> str:
        return str(self.ask("ann").json()["model"]["version"])

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(f"never: {what}")


def start_api(
    home: Path, redis_url: str, mlflow_url: str, *, insecure: bool = True, **more: str
) -> Api:
    """A server; `more` of its environment."""
    port = _free_port()
    home.mkdir(exist_ok=True)
    # One target only: champions that other tests leave on the shared server are none of ours.
    (home / "foresend.yaml").write_text(CONFIG)
    env = {
        **os.environ,
        **LIMITS,
        "FORESEND_HOME": str(home),
        "FORESEND_CONFIG": str(home / "foresend.yaml"),
        "FORESEND_REDIS_URL": redis_url,
        "FORESEND_MLFLOW_URI": mlflow_url,
        "FORESEND_PROJECT": PROJECT,
        **more,
    }
    command = [sys.executable, "-c", SERVE.format(port=port, insecure=insecure)]
    with (home / "api.log").open("ab") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    api = Api(process, f"http://127.0.0.1:{port}", home)
    until(lambda: process.poll() is not None or _answers(api), "the API answers")
    assert process.poll() is None, (home / "api.log").read_text()
    return api


def _answers(api: Api) -> bool:
    try:
        return httpx.get(f"{api.url}/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def apis() -> Iterator[list[Api]]:
    """Put a started API in here to have it ended."""
    started: list[Api] = []
    yield started
    for api in started:
        api.process.kill()
        api.process.wait(timeout=10)


def test_it_scores_as_the_model_does_follows_the_champion_and_stops_cleanly(
    redis_url: str, mlflow_server: str, tmp_path: Path, apis: list[Api]
) -> None:
    fill(redis_url)
    first = register(mlflow_server, tmp_path / "one", model_with(-1.0))
    apis.append(api := start_api(tmp_path / "home", redis_url, mlflow_server))

    assert api.ready()[0] == 200
    before = api.ask("ann", "nobody").json()
    assert before["model"]["version"] == first
    assert before["scores"][0]["degraded"] is None
    assert before["scores"][1]["score"] == 0.04

    failures: list[int] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            failures.extend([code] if (code := api.ask("ann").status_code) != 200 else [])

    asking = threading.Thread(target=keep_asking)
    asking.start()
    second = register(mlflow_server, tmp_path / "two", model_with(1.0))
    until(lambda: api.served() == second, "the new champion is served")
    stop.set()
    asking.join()
    after = api.ask("ann").json()

    assert failures == []
    assert after["scores"][0]["score"] > before["scores"][0]["score"]
    assert api.stop() == 0
    logged = read_predictions(
        Settings(home=api.home),
        TARGET,
        datetime.now(UTC) - timedelta(hours=1),
        datetime.now(UTC) + timedelta(hours=1),
    ).to_pylist()
    by_request = {row["request_id"]: row for row in logged if row["customer_id"] == "ann"}
    for answer in (before, after):
        row = by_request[answer["request_id"]]
        assert row["score"] == answer["scores"][0]["score"]
        assert row["model_version"] == answer["model"]["version"]
        # What was logged is what was scored: the model gives the same score for it again.
        intercept = -1.0 if answer is before else 1.0
        features = {n: [row[n]] for n in ("opens_30d", "opens_d28")}
        assert _again(intercept, {**features, "country": [row["country"]]}) == row["score"]


def _again(intercept: float, features: dict[str, list[Any]]) -> float:
    columns = {
        name: np.array(values, dtype=object if name == "country" else np.float64)
        for name, values in features.items()
    }
    return float(model_with(intercept).predict(columns)[0])


def test_keys_are_required_unless_declared_local_and_seen_without_a_restart(
    redis_url: str, mlflow_server: str, tmp_path: Path, apis: list[Api]
) -> None:
    fill(redis_url)
    register(mlflow_server, tmp_path / "one", model_with(-1.0))
    apis.append(api := start_api(tmp_path / "home", redis_url, mlflow_server, insecure=False))

    assert api.ask("ann").status_code == 401
    keys = KeyFile(keys_path(Settings(home=api.home)))
    _, secret = keys.add("test", [Scope.SCORE], clock=lambda: datetime.now(UTC))
    allowed = {"headers": {"authorization": f"Bearer {secret}"}}
    assert api.ask("ann", **allowed).status_code == 200
    keys.revoke("test")
    until(lambda: api.ask("ann", **allowed).status_code == 401, "the revoked key is refused")
    assert api.stop() == 0
    log = (api.home / "api.log").read_text()
    assert secret not in log
    assert '"ann"' not in log


def test_redis_stopped_and_back_is_declared_and_recovered_from(
    own_redis: tuple[str, subprocess.Popen[bytes]],  # noqa: F811
    mlflow_server: str,
    tmp_path: Path,
    apis: list[Api],
) -> None:
    url, process = own_redis
    fill(url)
    register(mlflow_server, tmp_path / "one", model_with(-1.0))
    apis.append(api := start_api(tmp_path / "home", url, mlflow_server))
    fresh = api.ask("ann").json()["scores"][0]

    process.send_signal(signal.SIGSTOP)
    rows = api.ask("ann", "bob").json()["scores"]
    assert [row["degraded"]["cause"] for row in rows] == ["store_unavailable"] * 2
    assert [row["degraded"]["score_is"] for row in rows] == ["last_score", "base_rate"]
    assert rows[0]["score"] == fresh["score"]
    status, why = api.ready()
    assert (status, why["status"]) == (200, "degraded")

    process.send_signal(signal.SIGCONT)
    until(lambda: api.ask("ann").json()["scores"][0]["degraded"] is None, "full answers again")
    assert api.ready()[1]["status"] == "ready"

    process.kill()
    process.wait(timeout=10)
    assert api.ask("ann").json()["scores"][0]["degraded"]["score_is"] == "last_score"
    assert api.stop() == 0


class Line:
    """A TCP line to a server, which a test can cut."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._to = (host, int(port))
        self._door = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def cut(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        # The threads end on what was shut down; only then may the sockets go.
        for thread in self._threads:
            thread.join()
        for end in (self._door, *self._open):
            end.close()

    def _start(self, work: Callable[..., None], *ends: socket.socket) -> None:
        self._threads.append(threading.Thread(target=work, args=ends, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._door.accept()
                far = socket.create_connection(self._to)
                self._open += [near, far]
                for ends in ((near, far), (far, near)):
                    self._start(self._carry, *ends)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def test_mlflow_gone_while_serving_and_at_the_start_is_survived_with_the_last_model(
    redis_url: str, mlflow_server: str, tmp_path: Path, apis: list[Api]
) -> None:
    fill(redis_url)
    line = Line(mlflow_server)
    version = register(mlflow_server, tmp_path / "one", model_with(-1.0))
    apis.append(api := start_api(tmp_path / "home", redis_url, line.url))
    assert api.served() == version

    line.cut()
    until(lambda: api.ready()[1]["status"] == "degraded", "readiness shows that MLflow is away")
    assert api.served() == version
    assert api.stop() == 0

    apis.append(again := start_api(tmp_path / "home", redis_url, line.url))
    status, why = again.ready()
    assert (status, why["registry"]["answers"]) == (200, False)
    assert again.served() == version
    assert '"source": "disk"' in (again.home / "api.log").read_text()
    assert again.stop() == 0

    apis.append(fresh := start_api(tmp_path / "other", redis_url, line.url))
    assert fresh.ready()[0] == 503
    refused = fresh.ask("ann")
    assert refused.status_code == 503
    assert "does not answer" in refused.json()["detail"]
    assert fresh.stop() == 0
