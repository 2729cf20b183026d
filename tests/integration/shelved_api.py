"""`foresend serve` with its model on the shelf, and customers told apart by their answers.

The registry is away from the start: that is survived, and spares these tests an MLflow server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from feature_repo import contract
from feature_repo.online import OnlineWriter, connect, loaded_key
from feature_repo.online_codec import all_columns
from serving.calibrator import Platt
from serving.encoder import Encoder
from serving.logistic import LevelTerm, Logistic, NumberTerm
from serving.model import ScoringModel
from serving.registry import Version
from serving.shelf import Shelf
from serving.tiers import TierPolicy
from tests.conftest import _free_port
from tests.integration.test_serving_process import CONFIG, TARGET, Api, _answers, until

PROJECT: Final = "shop"
KNOWN: Final = datetime(2026, 5, 1, 6, tzinfo=UTC)
"""When the features of all customers became known."""

BASE_RATE: Final = 0.04
CUSTOMERS: Final = 2_000
MODEL: Final = ScoringModel(
    target=TARGET,
    feature_service=contract.FEATURE_SERVICE,
    encoder=Encoder(("opens_30d", "country"), {"country": ("DE", "FR")}),
    estimator=Logistic(
        -1.0,
        (NumberTerm("opens_30d", 0.0, 1e6, 1.0, 2.0, 0.5, 0.1),),
        (LevelTerm("country", (0.3, -0.3), 0.0),),
    ),
    calibrator=Platt(1.0, 0.0),
    trained_through=KNOWN.isoformat(),
    base_rate=BASE_RATE,
)
TIERS: Final = TierPolicy(TARGET, "1", "run", ("low", "high"), (0.3,), "ann", KNOWN, None)

_FIRST: Final = datetime(2026, 4, 1, tzinfo=UTC)
_ENV: Final = {
    # Machines that run tests stall for longer than a server should wait.
    "FORESEND_SERVING_REDIS_READ_TIMEOUT_S": "1",
    "FORESEND_SERVING_REDIS_BULK_TIMEOUT_S": "5",
    "FORESEND_SERVING_REDIS_CONNECT_TIMEOUT_S": "1",
    "FORESEND_SERVING_STALE_AFTER_S": "1e9",
}


def name(number: int) -> str:
    """Customer of that number."""
    return f"customer-{number}"


def as_of(number: int) -> str:
    """Newest event of the customer of that number, as it is answered: no two have the same."""
    return (_FIRST + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")


def scores(numbers: Sequence[int]) -> list[float]:
    """What the model says of customers, each something else."""
    columns = {
        "opens_30d": np.array([n / 500 for n in numbers]),
        "country": np.array(["FR" if n % 2 else "DE" for n in numbers], dtype=object),
    }
    return [float(score) for score in MODEL.predict(columns)]


def fill(
    url: str,
    numbers: Sequence[int] = range(CUSTOMERS),
    *,
    known: datetime = KNOWN,
    through: datetime | None = KNOWN,
) -> None:
    """Customers in the online store, known at that moment; without `through`, no note of a load."""
    whom: dict[str, Any] = {
        contract.ENTITY: [name(n) for n in numbers],
        contract.EVENT_TIMESTAMP: pa.array([known] * len(numbers), pa.timestamp("us", tz="UTC")),
    }
    views: dict[str, dict[str, Any]] = {
        contract.ACTIVITY: {"last_event_at": [_FIRST.timestamp() + n for n in numbers]},
        contract.CUSTOMER_DAILY: {"opens_30d": [n / 500 for n in numbers]},
        contract.CUSTOMER_PROFILE: {
            "country": ["FR" if n % 2 else "DE" for n in numbers],
            "is_subscribed": [1.0] * len(numbers),
        },
        contract.CUSTOMER_PLACEMENT: {
            "p_inbox_28d": [1.0 - n / 1e4 for n in numbers],
            "ghost": [n % 10 / 10 for n in numbers],
        },
    }
    with connect(url) as client:
        writer = OnlineWriter(client, all_columns(PROJECT))
        for view, columns in views.items():
            writer.write(view, pa.table({**whom, **columns}))
        if through is not None:
            client.set(loaded_key(PROJECT), json.dumps({"through": through.isoformat()}))


def shelve(home: Path, model: ScoringModel = MODEL, tiers: TierPolicy | None = TIERS) -> None:
    """The version that was served before MLflow went away."""
    folder = home / "model"
    model.save(folder)
    version = Version(model.target, "1", "run", "models:/m-1")
    shelf = Shelf(home / "state" / "models")
    shelf.keep(version, {path.name: path.read_bytes() for path in folder.iterdir()})
    shelf.mark(version)
    if tiers is not None:
        shelf.keep_policy(model.target, tiers)


def environment(home: Path, redis_url: str, **more: str) -> dict[str, str]:
    """What `foresend` finds there, for an installation in `home`."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("FORESEND_")}
    return {
        **mine,
        **_ENV,
        "FORESEND_HOME": str(home),
        "FORESEND_CONFIG": str(home / "foresend.yaml"),
        "FORESEND_REDIS_URL": redis_url,
        "FORESEND_MLFLOW_URI": f"http://127.0.0.1:{_free_port()}",
        "FORESEND_PROJECT": PROJECT,
        **more,
    }


@contextmanager
def serving(
    home: Path, redis_url: str, *options: str, insecure: bool = True, **more: str
) -> Iterator[Api]:
    """A running `foresend serve` over a model on the shelf; killed at the end if it still runs."""
    if not (home / "foresend.yaml").exists():
        home.mkdir(exist_ok=True)
        (home / "foresend.yaml").write_text(CONFIG)
        shelve(home)
    port = _free_port()
    command = [sys.executable, "-m", "infra.cli", "serve", "--port", str(port), *options]
    command += ["--insecure-local"] if insecure else []
    log_path = home / "api.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, env=environment(home, redis_url, **more), stdout=log, stderr=log
        )
    api = Api(process, f"http://127.0.0.1:{port}", home)
    try:
        until(lambda: process.poll() is not None or _answers(api), "the API answers")
        assert process.poll() is None, log_path.read_text()
        yield api
    finally:
        process.kill()
        process.wait(timeout=10)
