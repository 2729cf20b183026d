"""A promotion in a real MLflow reaches real servers: by its webhook, under load, if it is good."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from mlflow import MlflowClient

from feature_repo.settings import Settings
from serving.doorbell import signature
from serving.encoder import Encoder
from serving.logistic import Logistic, NumberTerm
from serving.model import ScoringModel
from serving.prediction_log import read_predictions
from tests.conftest import _free_port, start_mlflow, wait_for_mlflow
from tests.integration.test_serving_process import (
    LIMITS,
    SERVE,
    TARGET,
    Api,
    _answers,
    model_with,
    register,
    until,
)
from tests.integration.test_serving_store import PROJECT, fill

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

FORESEND = Path(sys.executable).parent / "foresend"
CONFIG = """
targets: {purchase_30d: {event: purchased, horizon_days: 30, spine: weekly}}
serving: {shadow: 1.0, canary: 0.5}
"""
NEVER_S = "100000"
WEBHOOKS = {
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_CACHE_TTL": "1",
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an MLflow server of these tests alone, which may ring at this machine."""
    port = _free_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WEBHOOKS.items():
            patch.setenv(name, value)
        process = start_mlflow(tmp_path_factory.mktemp("mlflow-rings"), port)
    try:
        wait_for_mlflow(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture
def mlflow(registry: str) -> str:
    """The server, without models."""
    client = MlflowClient(registry)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    return registry


@contextmanager
def served(home: Path, port: int, redis_url: str, mlflow_url: str, **env: str) -> Iterator[Api]:
    """A running `foresend serve` on a port."""
    home.mkdir(exist_ok=True)
    (home / "foresend.yaml").write_text(CONFIG)
    given = {
        **LIMITS,
        "FORESEND_HOME": str(home),
        "FORESEND_CONFIG": str(home / "foresend.yaml"),
        "FORESEND_REDIS_URL": redis_url,
        "FORESEND_MLFLOW_URI": mlflow_url,
        "FORESEND_PROJECT": PROJECT,
        **env,
    }
    command = [sys.executable, "-c", SERVE.format(port=port, insecure=True)]
    with (home / f"api-{port}.log").open("ab") as log:
        process = subprocess.Popen(command, env={**os.environ, **given}, stdout=log, stderr=log)
    api = Api(process, f"http://127.0.0.1:{port}", home)
    try:
        until(lambda: process.poll() is not None or _answers(api), "the API answers")
        assert process.poll() is None, (home / f"api-{port}.log").read_text()
        yield api
        assert api.stop() == 0
    finally:
        process.kill()
        process.wait(timeout=10)


def metric(api: Api, line: str) -> float | None:
    """Value of a series, None when there is none."""
    for found in httpx.get(f"{api.url}/metrics", timeout=30).text.splitlines():
        name, _, value = found.rpartition(" ")
        if name == line:
            return float(value)
    return None


def run_hook(
    url: str, mlflow_url: str, home: Path, *more: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """`foresend models webhook`."""
    given = {"FORESEND_HOME": str(home), "FORESEND_MLFLOW_URI": mlflow_url, **env}
    return subprocess.run(
        [FORESEND, "models", "webhook", url, *more],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )


def hook(url: str, mlflow_url: str, home: Path, *more: str, **env: str) -> dict[str, Any]:
    """What it prints for programs."""
    done = run_hook(url, mlflow_url, home, "--json", *more, **env)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_a_promotion_rings_at_one_server_and_all_of_the_installation_follow_at_once(
    redis_url: str, mlflow: str, tmp_path: Path
) -> None:
    fill(redis_url)
    home, ports = tmp_path / "home", (_free_port(), _free_port())
    first = register(mlflow, tmp_path / "one", model_with(-1.0))
    made = hook(f"http://127.0.0.1:{ports[0]}", mlflow, home)
    rare = {
        "FORESEND_SERVING_MLFLOW_WEBHOOK_SECRET": made["secret"],
        "FORESEND_SERVING_REGISTRY_POLL_S": NEVER_S,
    }
    with (
        served(home, ports[0], redis_url, mlflow, **rare) as rung,
        served(home, ports[1], redis_url, mlflow, **rare) as other,
    ):
        # MLflow itself delivers once now, signed; that it may reach us is the half of it.
        again = hook(
            f"http://127.0.0.1:{ports[0]}",
            mlflow,
            home,
            "--test",
            FORESEND_SERVING_MLFLOW_WEBHOOK_SECRET=made["secret"],
        )
        assert (again["was_there"], again["test"]) == (True, "ok")
        assert again["webhook_id"] == made["webhook_id"]
        assert (rung.served(), other.served()) == (first, first)

        time.sleep(1.5)  # MLflow remembers for MLFLOW_WEBHOOK_CACHE_TTL which webhooks there are.
        second = register(mlflow, tmp_path / "two", model_with(1.0))

        until(lambda: rung.served() == second, "the server that was rung at serves the promotion")
        until(lambda: other.served() == second, "the other server serves it too")
        assert (metric(other, 'foresend_doorbell_rings_total{outcome="rung"}') or 0.0) == 0.0
        log = (home / f"api-{ports[0]}.log").read_text()
        assert made["secret"] not in log


@pytest.mark.parametrize(
    ("url", "told"),
    [
        # This server was not told that it may call private addresses, nor http.
        ("http://127.0.0.1:9", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true"),
        ("scores.example", "write https://HOST:PORT"),
    ],
)
def test_the_command_says_why_mlflow_cannot_ring(
    mlflow_server: str, tmp_path: Path, url: str, told: str
) -> None:
    done = run_hook(url, mlflow_server, tmp_path)

    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_rings_nobody(tmp_path: Path) -> None:
    done = run_hook("https://scores.example", f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)

    assert done.returncode == 2
    assert "is no server" in done.stderr


def test_the_secret_is_printed_once_for_people_too(mlflow: str, tmp_path: Path) -> None:
    done = run_hook("http://127.0.0.1:9", mlflow, tmp_path)
    known = {"FORESEND_SERVING_MLFLOW_WEBHOOK_SECRET": "a secret of some length"}
    again = run_hook("http://127.0.0.1:9", mlflow, tmp_path, "--test", **known)

    assert done.returncode == 0
    assert done.stdout.startswith("FORESEND_SERVING_MLFLOW_WEBHOOK_SECRET=")
    assert again.returncode == 2
    assert "trial delivery to http://127.0.0.1:9/v1/hooks/mlflow was not taken" in again.stderr
    assert "a secret" not in again.stdout + again.stderr


def test_a_forged_or_old_delivery_makes_nobody_look(
    redis_url: str, mlflow: str, tmp_path: Path
) -> None:
    fill(redis_url)
    register(mlflow, tmp_path / "one", model_with(-1.0))
    secret, body = "a secret of some length", b"{}"
    given = {
        "FORESEND_SERVING_MLFLOW_WEBHOOK_SECRET": secret,
        "FORESEND_SERVING_REGISTRY_POLL_S": NEVER_S,
    }

    def ring(api: Api, at: float, signed_with: str, id_: str = "d-1") -> int:
        stamp = str(int(at))
        headers = {
            "X-MLflow-Delivery-Id": id_,
            "X-MLflow-Timestamp": stamp,
            "X-MLflow-Signature": signature(signed_with, id_, stamp, body),
        }
        url = f"{api.url}/v1/hooks/mlflow"
        return httpx.post(url, content=body, headers=headers, timeout=30).status_code

    now = datetime.now(UTC).timestamp()
    with served(tmp_path / "home", _free_port(), redis_url, mlflow, **given) as api:
        assert ring(api, now, "a secret that was guessed") == 401
        assert ring(api, now - 900, secret) == 401
        assert httpx.post(f"{api.url}/v1/hooks/mlflow", content=b"{}").status_code == 401
        assert not (api.home / "state" / "doorbell").exists()
        assert ring(api, now, secret) == 204
        assert ring(api, now, secret) == 204
        rings = 'foresend_doorbell_rings_total{{outcome="{}"}}'.format
        assert metric(api, rings("refused")) == 3.0
        assert (metric(api, rings("rung")), metric(api, rings("repeated"))) == (1.0, 1.0)
    with served(tmp_path / "home", _free_port(), redis_url, mlflow) as without:
        assert ring(without, now, secret) == 404


def scores_of(intercept: float, home: Path, target: str = TARGET) -> dict[str, float]:
    """What a model of this intercept gives the customers whose features were logged."""
    start = datetime.now(UTC) - timedelta(hours=1)
    rows = read_predictions(
        Settings(home=home), target, start, start + timedelta(hours=2)
    ).to_pylist()
    known = {row["customer_id"]: row for row in rows if row["opens_30d"] is not None}
    return {
        customer: float(
            model_with(intercept).predict(
                {
                    "opens_30d": np.array([row["opens_30d"]]),
                    "opens_d28": np.array([row["opens_d28"]]),
                    "country": np.array([row["country"]], dtype=object),
                }
            )[0]
        )
        for customer, row in known.items()
    }


def test_swaps_under_load_fail_nobody_and_no_answer_is_of_two_versions(
    redis_url: str, mlflow: str, tmp_path: Path
) -> None:
    fill(redis_url)
    home, client = tmp_path / "home", MlflowClient(mlflow)
    intercepts = {
        register(mlflow, tmp_path / str(n), model_with(b)): b
        for n, b in enumerate((-2.0, 0.0, 2.0))
    }
    answers: list[httpx.Response] = []
    stop = threading.Event()

    def ask(api: Api) -> None:
        body = {
            "target": TARGET,
            # Scored at a fixed moment, so that a version gives a customer one score for ever.
            "send_at": sent_at,
            "customers": [{"customer_id": c} for c in ("ann", "bob") * 20],
        }
        with httpx.Client(base_url=api.url, timeout=30) as line:
            while not stop.is_set():
                answers.append(line.post("/v1/score", json=body))

    def is_served(api: Api, version: str) -> bool:
        return api.served() == version

    sent_at = datetime.now(UTC).isoformat()
    with served(home, _free_port(), redis_url, mlflow) as api, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, api) for _ in range(4)]
        for _ in range(4):
            for version in intercepts:
                client.set_registered_model_alias(TARGET, "champion", version)
                until(partial(is_served, api, version), f"{version} is served")
        stop.set()
        for one in asking:
            one.result()

    assert {answer.status_code for answer in answers} == {200}
    seen: dict[str, dict[str, set[float]]] = {}
    for answer in answers:
        body = answer.json()
        version = body["model"]["version"]
        assert {row["model_version"] for row in body["scores"]} == {version}
        assert not any(row["degraded"] for row in body["scores"])
        for row in body["scores"]:
            seen.setdefault(version, {}).setdefault(row["customer_id"], set()).add(row["score"])
    assert set(seen) == set(intercepts)
    # Each version gave each customer one score, of all its answers.
    assert all(len(scores) == 1 for by in seen.values() for scores in by.values())
    assert len({next(iter(by["ann"])) for by in seen.values()}) == len(intercepts)


def damaged(folder: Path, how: str) -> None:
    """Spoil a saved model."""
    spec = folder / "spec.json"
    raw = json.loads(spec.read_text())
    if how == "truncated":
        spec.write_bytes(spec.read_bytes()[:-20])
    elif how == "changed":
        spec.write_text(spec.read_text().replace('"base_rate": 0.04', '"base_rate": 0.05'))
    elif how == "no manifest":
        (folder / "manifest.json").unlink()
    elif how == "manifest is a list":
        (folder / "manifest.json").write_text('["spec.json"]')
    else:
        examples = json.loads((folder / "examples.json").read_text())
        if how == "examples":
            examples["scores"][0] += 0.01
            (folder / "examples.json").write_text(json.dumps(examples))
        elif how == "spec is a list":
            spec.write_text(json.dumps([raw]))
        # Damage with hashes that fit: it was registered like this.
        hashes = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in ("examples.json", "spec.json")
        }
        (folder / "manifest.json").write_text(json.dumps(hashes))


def of_unknown_feature() -> ScoringModel:
    model = model_with(0.0)
    term = NumberTerm("horoscope", 0.0, 1e6, 1.0, 2.0, 0.5, 0.1)
    encoder = Encoder(("horoscope",), {})
    return replace(model, encoder=encoder, estimator=Logistic(0.0, (term,), ()))


def with_examples(model: ScoringModel) -> ScoringModel:
    columns = {
        "opens_30d": np.array([1.0, np.nan]),
        "opens_d28": np.array([0.0, 2.0]),
        "country": np.array(["DE", None], dtype=object),
    }
    return model.with_examples(columns)


def put(url: str, folder: Path, spoil: Callable[[Path], None], model: ScoringModel) -> str:
    """Register what was spoiled, and promote it."""
    saved = ScoringModel.save

    def save_spoiled(self: ScoringModel, to: Path) -> None:
        saved(self, to)
        spoil(to)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScoringModel, "save", save_spoiled)
        return register(url, folder, model)


def test_whatever_is_promoted_in_whatever_state_the_good_version_serves_on(
    redis_url: str, mlflow: str, tmp_path: Path
) -> None:
    fill(redis_url)
    good = register(mlflow, tmp_path / "good", with_examples(model_with(-1.0)))
    kinds = (
        "truncated",
        "changed",
        "no manifest",
        "manifest is a list",
        "examples",
        "spec is a list",
    )
    with served(tmp_path / "home", _free_port(), redis_url, mlflow) as api:
        before = api.ask("ann").json()["scores"][0]["score"]

        def is_refused(bad: str) -> str:
            def named() -> bool:
                told = api.ready()[1]["models"][TARGET]
                return bool(told["champion"] == bad and told["problem"])

            until(named, f"version {bad} is refused")
            code, body = api.ready()
            assert (code, body["status"]) == (200, "degraded")
            assert api.served() == good
            return str(body["models"][TARGET]["problem"])

        for how in kinds:
            model = with_examples(model_with(0.5))
            bad = put(mlflow, tmp_path / how.replace(" ", "-"), partial(damaged, how=how), model)
            assert f"version {bad} can" in is_refused(bad), how
        unknown = register(mlflow, tmp_path / "unknown", of_unknown_feature())
        assert "horoscope" in is_refused(unknown)
        assert api.ask("ann").json()["scores"][0]["degraded"] is None
        failures = f'foresend_model_load_failures_total{{target="{TARGET}"}}'
        assert metric(api, failures) == len(kinds) + 1.0

        mended = register(mlflow, tmp_path / "mended", model_with(1.0))
        until(lambda: api.served() == mended, "a good version is served after all")
        assert api.ask("ann").json()["scores"][0]["score"] > before
        assert api.ready()[1]["status"] == "ready"


def test_a_challenger_answers_its_canary_and_shadows_the_rest(
    redis_url: str, mlflow: str, tmp_path: Path
) -> None:
    fill(redis_url)
    champion = register(mlflow, tmp_path / "one", model_with(-1.0))
    challenger = register(mlflow, tmp_path / "two", model_with(1.0), promote=False)
    MlflowClient(mlflow).set_registered_model_alias(TARGET, "challenger", challenger)
    home = tmp_path / "home"
    with served(home, _free_port(), redis_url, mlflow) as api:
        rows = api.ask("ann", "bob").json()["scores"]
        by = {row["customer_id"]: (row["model_version"], row["canary"]) for row in rows}
        # Of these two, one is in the half that the canary takes.
        assert sorted(by.values()) == [(champion, False), (challenger, True)]
        unseen = next(customer for customer, (_, canary) in by.items() if not canary)
        scored = f'foresend_shadow_rows_total{{target="{TARGET}"}}'
        until(lambda: metric(api, scored) == 1.0, "the other one is scored unseen")
    start = datetime.now(UTC) - timedelta(hours=1)
    span = (start, start + timedelta(hours=2))
    told = read_predictions(Settings(home=home), TARGET, *span, roles=("shadow",)).to_pylist()
    assert [(row["customer_id"], row["model_version"]) for row in told] == [(unseen, challenger)]
    assert told[0]["score"] == scores_of(1.0, home)[unseen]
    answered = read_predictions(Settings(home=home), TARGET, *span).to_pylist()
    assert {row["customer_id"]: row["model_version"] for row in answered} == {
        customer: version for customer, (version, _) in by.items()
    }
