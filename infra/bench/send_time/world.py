"""Customers in Redis, a model of 40 features and 300 trees on the shelf, and servers over both."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import lightgbm
import numpy as np
import orjson
import psutil

from feature_repo import contract, online, transforms
from feature_repo.api_keys import KeyFile, Scope, keys_path
from feature_repo.errors import NotReady
from feature_repo.load import load
from feature_repo.online_codec import model_columns
from feature_repo.settings import Settings
from infra.bench.feature_data import customer_id, write_feature_tables
from infra.bench.redis_server import redis_server
from infra.stack.ports import LOOPBACK, free_port
from serving.calibrator import Platt
from serving.encoder import Encoder
from serving.model import ScoringModel
from serving.registry import Version
from serving.shelf import Shelf
from serving.tiers import TierPolicy
from serving.trees import LightGbm

TARGET: Final = "purchase_30d"
UNTIL: Final = datetime(2026, 11, 1, tzinfo=UTC)
SERVER_CPU: Final = 0
OTHER_CPU: Final = 1
TREES: Final = 300
LEAVES: Final = 31
TIERS: Final = TierPolicy(TARGET, "1", "bench", ("C", "B", "A"), (0.3, 0.7), "bench", UNTIL, None)
_TRAINED_ON: Final = 10_000
_START_TIMEOUT_S: Final = 120.0

STORED: Final = (*contract.MODEL_DAILY[:15], *contract.TOTALS[:5])
FEATURES: Final = (*STORED, *transforms.SEND_TIME[::2][:20])
"""Twenty stored numbers and twenty of the moment of the send."""


@dataclass(frozen=True)
class World:
    """Everything the servers of one benchmark share."""

    settings: Settings
    customers: int
    model: ScoringModel
    key: str

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """What a client of ours sends."""
        return [("Authorization", f"Bearer {self.key}")]

    def bodies(self, per_request: int, requests: int = 2000, **more: Any) -> list[bytes]:
        """Request bodies for random customers."""
        rng = np.random.default_rng(5)
        made = []
        for _ in range(requests):
            ids = rng.integers(0, self.customers, per_request)
            asked = [{"customer_id": customer_id(int(i))} for i in ids]
            made.append(orjson.dumps({"target": TARGET, "customers": asked, **more}))
        return made


@contextmanager
def scoring_world(workdir: Path, customers: int = 20_000) -> Iterator[World]:
    """Redis on the second core, filled, and a model on the shelf; MLflow is not running."""
    workdir.mkdir(parents=True, exist_ok=True)
    with redis_server(workdir) as url:
        _pin_redis(url)
        settings = Settings(
            home=workdir / "home",
            redis_url=url,
            mlflow_uri=f"http://{LOOPBACK}:{free_port(0)}",
            project="bench",
        )
        write_feature_tables(settings, customers=customers, versions=1, until=UNTIL)
        with online.connect(url) as client:
            load(settings, client, as_of=UNTIL, full=True)
            model = train(settings, client, min(customers, _TRAINED_ON))
        shelve(settings, model)
        keys = KeyFile(keys_path(settings))
        _, key = keys.add("bench", [*Scope], clock=lambda: UNTIL)
        yield World(settings, customers, model, key)


def train(settings: Settings, client: Any, rows: int) -> ScoringModel:
    """A LightGBM model of random customers: what it predicts is made up, what it costs is not."""
    reader = online.OnlineReader(client, model_columns(settings.project))
    stored = reader.read([customer_id(i) for i in range(rows)]).columns
    now = np.full(rows, UNTIL.timestamp() + 3600)
    columns = {**stored, **transforms.send_time(stored, now)}
    encoder = Encoder(FEATURES, {})
    matrix = encoder.matrix(columns)
    rng = np.random.default_rng(3)
    signal = np.nan_to_num(matrix) @ rng.normal(size=len(FEATURES)) / np.nanstd(matrix)
    label = (signal + rng.normal(size=rows) * signal.std() > np.median(signal)).astype(float)
    data = lightgbm.Dataset(matrix, label, feature_name=list(FEATURES))
    parameters = {"objective": "binary", "num_leaves": LEAVES, "verbose": -1, "num_threads": 2}
    booster = lightgbm.train(parameters, data, num_boost_round=TREES)
    model = ScoringModel(
        target=TARGET,
        feature_service=contract.FEATURE_SERVICE,
        encoder=encoder,
        estimator=LightGbm(booster),
        calibrator=Platt(1.0, 0.0),
        trained_through=UNTIL.isoformat(),
        base_rate=0.5,
    )
    return model.with_examples({name: columns[name][:64] for name in FEATURES})


def shelve(settings: Settings, model: ScoringModel) -> None:
    """Put a model where servers find what they served last."""
    folder = settings.home / "model"
    model.save(folder)
    version = Version(TARGET, "1", "bench", "bench")
    shelf = Shelf(settings.state_path / "models")
    shelf.keep(version, {path.name: path.read_bytes() for path in folder.iterdir()})
    shelf.mark(version)
    shelf.keep_policy(TARGET, TIERS)


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    pid: int

    def cpu_s(self) -> float:
        """Seconds of CPU it has used: what noise on the machine changes least."""
        used = psutil.Process(self.pid).cpu_times()
        return float(used.user + used.system)


@contextmanager
def process(
    world: World, argv: Sequence[str], ready_path: str, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server on the first core, as `python argv... PORT`."""
    port = free_port(0)
    variables = {
        **os.environ,
        "FORESEND_HOME": str(world.settings.home.absolute()),
        "FORESEND_REDIS_URL": str(world.settings.redis_url and _secret(world.settings)),
        "FORESEND_MLFLOW_URI": str(world.settings.mlflow_uri),
        "FORESEND_PROJECT": world.settings.project,
        "FORESEND_SERVING_STALE_AFTER_S": "1e9",
        "OMP_NUM_THREADS": "1",
        **(env or {}),
    }
    log_path = world.settings.home / f"server-{port}.log"
    with log_path.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, *argv, str(port)], stdout=log, stderr=log, env=variables
        )
        _pin(child.pid, SERVER_CPU)
        url = f"http://{LOOPBACK}:{port}"
        try:
            _wait(child, url + ready_path, log_path)
            yield Server(url, child.pid)
        finally:
            child.terminate()
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()


def ours(world: World, env: Mapping[str, str] | None = None) -> AbstractContextManager[Server]:
    """`foresend serve` with keys, log and all, on the first core."""
    return process(world, ["-m", "infra.cli", "serve", "--port"], "/readyz", env)


@contextmanager
def on_other_core() -> Iterator[None]:
    """Keep this process, the load generator, off the servers' core."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    _pin(0, OTHER_CPU)
    try:
        yield
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)


def _secret(settings: Settings) -> str:
    assert settings.redis_url is not None
    return settings.redis_url.get_secret_value()


def _pin(pid: int, cpu: int) -> None:
    """Keep a process on one core, where the machine has two and lets us."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {cpu})


def _pin_redis(url: str) -> None:
    with online.connect(url) as client:
        _pin(int(client.info("server")["process_id"]), OTHER_CPU)


def _wait(child: subprocess.Popen[bytes], url: str, log_path: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            break
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    message = f"{url} did not answer; see {log_path}."
    raise NotReady(message)
