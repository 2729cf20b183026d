"""`foresend worker router` as a process of its own, over a real Redis and a real MLflow server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import mlflow
import pytest
import redis
from mlflow import MlflowClient

from feature_repo.event import EventType
from feature_repo.settings import Settings
from feature_repo.stream.queue import open_queue
from feature_repo.stream.score_streams import SCORE_CHANGED, SCORE_REQUESTS, SCORE_RESULTS
from serving.prediction_log import read_predictions
from serving.routing.message import ActionKind
from tests.conftest import _free_port
from tests.integration.routing_world import Reader, ask
from tests.integration.stream_world import World, event
from tests.integration.test_serving_process import model_with

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

TARGET = "routed_30d"
CONFIG = f"""
targets: {{{TARGET}: {{event: purchased, horizon_days: 30, spine: weekly}}}}
routing:
  enabled: true
  frequency_caps: [{{sends: 2, days: 7}}]
  rules: [{{name: poor, when: {{score_below: 0.9}}, do: suppress}}]
"""


@pytest.fixture
def environment(redis_url: str, mlflow_server: str, tmp_path: Path) -> dict[str, str]:
    config = tmp_path / "foresend.yaml"
    config.write_text(CONFIG)
    return {
        "FORESEND_HOME": str(tmp_path),
        "FORESEND_PROJECT": "shop",
        "FORESEND_REDIS_URL": redis_url,
        "FORESEND_MLFLOW_URI": mlflow_server,
        "FORESEND_CONFIG": str(config),
        "FORESEND_SERVING_REGISTRY_POLL_S": "0.2",
        "FORESEND_SERVING_STALE_AFTER_S": "1e9",
    }


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> Iterator[World]:
    with redis.Redis.from_url(redis_url) as client:
        yield World(tmp_path, client, redis_url)


@pytest.fixture
def settings(
    world: World, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    world.now = datetime.now(UTC)
    return Settings()


def register(url: str, folder: Path, intercept: float) -> str:
    """A new champion."""
    client = MlflowClient(url)
    experiment = client.get_experiment_by_name("router-tests")
    made = experiment.experiment_id if experiment else client.create_experiment("router-tests")
    run = client.create_run(made)
    replace(model_with(intercept), target=TARGET).save(folder / "runtime")
    mlflow.set_tracking_uri(url)
    client.log_artifacts(run.info.run_id, str(folder / "runtime"), "runtime")
    if not client.search_registered_models(f"name = '{TARGET}'"):
        client.create_registered_model(TARGET)
    version = client.create_model_version(TARGET, run.info.artifact_uri, run.info.run_id)
    client.set_registered_model_alias(TARGET, "champion", version.version)
    return str(version.version)


def test_a_router_answers_tells_and_follows_promotions(
    settings: Settings, world: World, mlflow_server: str, tmp_path: Path
) -> None:
    first = register(mlflow_server, tmp_path, -2.0)
    port = _free_port()
    command = [sys.executable, "-m", "infra.cli", "worker", "router", "--metrics-port", str(port)]
    results, changed = Reader(settings, SCORE_RESULTS), Reader(settings, SCORE_CHANGED)
    queue = open_queue(settings, stream=SCORE_REQUESTS)
    with (tmp_path / "router.log").open("wb") as log:
        process = subprocess.Popen(command, env=dict(os.environ), stdout=log, stderr=log)
    try:
        until(lambda: _is_ready(port), tmp_path)
        ask(queue, {"id": "r1", "customer_id": "ann", "target": TARGET})
        until(lambda: results.read() or bool(results.messages), tmp_path)
        (answer,) = results.messages
        assert (answer.model_version, answer.degraded) == (first, "unknown_customer")
        assert answer.action.rule == "unknown_customer"

        _happen(world, "e1")
        until(lambda: changed.read() or bool(changed.messages), tmp_path)
        told = changed.messages[0]
        assert (told.customer_id, told.model_version) == ("ann", first)
        assert (told.action.kind, told.action.rule) == (ActionKind.SUPPRESS, "poor")

        second = register(mlflow_server, tmp_path, 4.0)
        until(lambda: _version_told(world, changed) == second, tmp_path)
        assert changed.messages[-1].score_before == pytest.approx(told.score)
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert "foresend_routing_change_seconds_count" in metrics
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=30)
        queue.close()
        results.close()
        changed.close()

    assert code == 0, (tmp_path / "router.log").read_text()
    day = datetime.now(UTC)
    logged = read_predictions(settings, TARGET, day - timedelta(days=1), day + timedelta(days=1))
    assert len(logged) >= 3


def test_a_router_that_is_switched_off_says_how_to_switch_it_on(
    settings: Settings, tmp_path: Path
) -> None:
    config = tmp_path / "foresend.yaml"
    config.write_text(CONFIG.replace("enabled: true", "enabled: false"))
    command = [sys.executable, "-m", "infra.cli", "worker", "router"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert "routing.enabled is false; set it to true" in done.stderr


def _happen(world: World, event_id: str) -> None:
    at = datetime.now(UTC)
    world.now = at
    purchase = {"type": EventType.PURCHASED, "event_time": at, "received_time": at}
    world.handler.handle([event(event_id, "ann", amount=1.0, currency="EUR", **purchase)])


def _version_told(world: World, changed: Reader) -> str:
    """Of the newest message, after one more event."""
    _happen(world, f"again-{time.monotonic_ns()}")
    time.sleep(0.3)
    changed.read()
    return changed.messages[-1].model_version


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def until(done: Callable[[], object], folder: Path) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, (folder / "router.log").read_text()
        time.sleep(0.1)
