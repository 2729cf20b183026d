"""A promotion under load: errors, and the 99th percentile in the second of the swap."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import mlflow
from mlflow import MlflowClient

from infra.bench.send_time.load import Answers, open_loop, request
from infra.bench.send_time.overload import second_of
from infra.bench.send_time.world import TARGET, World, on_other_core, ours, scoring_world
from infra.stack.ports import free_port
from infra.stack.service import child_environment, mlflow_service

PER_S: Final = 1_500.0
SECONDS: Final = 20.0
SWAPS: Final = (6.0, 10.0, 14.0)
_POLL: Final = {"FORESEND_SERVING_REGISTRY_POLL_S": "0.5"}


def run(workdir: Path) -> dict[str, Any]:
    """p99 of the worst swap second against the median second without one; errors must be none."""
    with scoring_world(workdir) as world, _mlflow(world) as uri:
        client = MlflowClient(uri)
        versions = [_register(client, world, uri) for _ in range(len(SWAPS) + 1)]
        client.set_registered_model_alias(TARGET, "champion", versions[0])
        env = {**_POLL, "FORESEND_MLFLOW_URI": uri}
        with on_other_core(), ours(world, env) as server:
            url = server.url
            _wait_for(world, url, versions[0])
            requests = [request(url + "/v1/score", b, world.headers) for b in world.bodies(1)]
            open_loop(url, requests, per_s=PER_S, seconds=2.0)
            served: list[float] = []
            began = time.perf_counter()
            promoter = threading.Thread(
                target=_promote, args=(client, world, url, versions[1:], began, served)
            )
            promoter.start()
            found = open_loop(url, requests, per_s=PER_S, seconds=SECONDS)
            promoter.join()
    quiet = _quiet_seconds(found, served)
    worst = max(second_of(found, moment - 0.5) for moment in served)
    return {
        "ours": worst,
        "baseline": quiet,
        "ratio": worst / quiet,
        "unit": "ms p99 in the second of a swap",
        "swaps": len(served),
        "answers": len(found.status),
        "errors": len(found.status) - found.count(200) + found.lost,
    }


def _promote(
    client: MlflowClient,
    world: World,
    url: str,
    versions: list[str],
    began: float,
    served: list[float],
) -> None:
    """Promote each version at its time; note when it was first served."""
    for moment, version in zip(SWAPS, versions, strict=True):
        time.sleep(max(0.0, began + moment - time.perf_counter()))
        client.set_registered_model_alias(TARGET, "champion", version)
        _wait_for(world, url, version)
        served.append(time.perf_counter() - began)


def _wait_for(world: World, url: str, version: str) -> None:
    with httpx.Client(base_url=url, headers=dict(world.headers)) as client:
        body = world.bodies(1, requests=1)[0]
        headers = {"Content-Type": "application/json"}
        while True:
            answer = client.post("/v1/score", content=body, headers=headers)
            if answer.is_success and answer.json()["model"]["version"] == version:
                return
            time.sleep(0.05)


def _quiet_seconds(found: Answers, served: list[float]) -> float:
    """Median p99 of the seconds that are not near a swap."""
    seconds = sorted(
        second_of(found, float(second))
        for second in range(1, int(SECONDS) - 1)
        if all(abs(second + 0.5 - moment) > 1.5 for moment in served)
    )
    return seconds[len(seconds) // 2]


def _register(client: MlflowClient, world: World, uri: str) -> str:
    """A version of the world's model, as training lays its artifacts."""
    mlflow.set_tracking_uri(uri)
    experiment = client.get_experiment_by_name("bench")
    place = experiment.experiment_id if experiment else client.create_experiment("bench")
    made = client.create_run(place).info
    client.log_artifacts(made.run_id, str(world.settings.home / "model"), "runtime")
    if not client.search_registered_models(f"name='{TARGET}'"):
        client.create_registered_model(TARGET)
    version = client.create_model_version(TARGET, made.artifact_uri, made.run_id)
    return str(version.version)


@contextmanager
def _mlflow(world: World) -> Iterator[str]:

    service = mlflow_service(world.settings, free_port(0))
    log_path = world.settings.home / "mlflow.log"
    with log_path.open("wb") as log:
        child = subprocess.Popen(
            service.argv, stdout=log, stderr=log, env=child_environment(service), cwd=service.cwd
        )
        try:
            while True:
                try:
                    if httpx.get(str(service.ready_url), timeout=2).is_success:
                        break
                except httpx.HTTPError:
                    time.sleep(0.2)
            yield service.url
        finally:
            child.terminate()
            child.wait(timeout=30)
