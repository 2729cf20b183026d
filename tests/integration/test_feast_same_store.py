"""One online store for both: what the served model saw is what Feast's own clients read there."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
import redis
from feast import FeatureStore
from feast.feature_server import get_app
from starlette.testclient import TestClient

from feature_repo import contract, online, store
from feature_repo.event import Event, EventType
from feature_repo.settings import Settings
from serving.calibrator import Platt
from serving.encoder import Encoder
from serving.logistic import LevelTerm, Logistic, NumberTerm
from serving.model import ScoringModel
from serving.prediction_log import read_predictions
from tests.integration.shelved_api import serving, shelve
from tests.integration.stream_world import HOUR, NOW, World, event
from tests.integration.test_online_feast import stock_store
from tests.integration.test_serving_process import CONFIG, TARGET

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

TEXTS: Final = tuple(n for n in contract.MODEL_FEATURES if n in contract.TEXT_FEATURES)
NUMBERS: Final = tuple(n for n in contract.MODEL_FEATURES if n not in contract.TEXT_FEATURES)
LEVELS: Final = dict.fromkeys(TEXTS, ("DE", "GB"))
SEND_AT: Final = NOW + timedelta(days=2, hours=3.25)
CUSTOMERS: Final = ("ann", "bob", "cyd", "dee", "nobody")

Row = dict[str, Any]


def history() -> list[Event]:
    """Some weeks of five people's mail; no two alike."""
    made = []
    for place, who in enumerate(CUSTOMERS[:-1]):
        for n in range(30 + 7 * place):
            kind = (EventType.SENT, EventType.OPENED, EventType.CLICKED)[n % 3]
            at = NOW - (n * 17 + place + 1) * HOUR
            more: dict[str, object] = {"event_time": at, "received_time": at + HOUR / 60}
            if n % 5 == place:
                more |= {"country": "GB" if place % 2 else "DE", "utc_offset_minutes": 60 * place}
            made.append(event(f"{who}-{n}", who, type=kind, **more))
        at = NOW - (40 + place) * HOUR
        more = {"event_time": at, "received_time": at + HOUR / 60, "amount": 12.5 + place}
        made.append(event(f"{who}-buys", who, type=EventType.PURCHASED, **more))
    return made


def model() -> ScoringModel:
    """Sees every feature a model may see, so that the log has them all."""
    return ScoringModel(
        target=TARGET,
        feature_service=contract.FEATURE_SERVICE,
        encoder=Encoder(contract.MODEL_FEATURES, LEVELS),
        estimator=Logistic(
            -1.0,
            tuple(NumberTerm(name, -1e12, 1e12, 0.0, 1e6, 0.1, 0.0) for name in NUMBERS),
            tuple(LevelTerm(name, (0.1, -0.1), 0.0) for name in TEXTS),
        ),
        calibrator=Platt(1.0, 0.0),
        trained_through=NOW.isoformat(),
        base_rate=0.04,
    )


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with online.connect(redis_url) as client:
        yield client


def written_by_load(world: World) -> None:
    world.archive(history())
    world.build_and_load(full=True)


def written_by_load_and_stream(world: World) -> None:
    """A load, and events since that only the stream has folded."""
    older, newer = history()[:-40], history()[-40:]
    world.archive(older)
    world.build_and_load(full=True)
    world.handler.handle(newer)


def seen_by_the_model(world: World, redis_url: str) -> dict[str, Row]:
    """What the prediction log says the served model saw of each customer, and answered."""
    home = world.settings.home
    (home / "foresend.yaml").write_text(CONFIG)
    shelve(home, model(), tiers=None)
    asked = {
        "target": TARGET,
        "customers": [{"customer_id": one} for one in CUSTOMERS],
        "send_at": SEND_AT.isoformat(),
    }
    with serving(home, redis_url) as api:
        answer = httpx.post(f"{api.url}/v1/score", json=asked, timeout=30)
        assert answer.status_code == 200, answer.text
        assert api.stop() == 0
    now = datetime.now(UTC)
    table = read_predictions(Settings(home=home), TARGET, now - HOUR, now + HOUR)
    rows = {row["customer_id"]: row for row in table.to_pylist()}
    for told in answer.json()["scores"]:
        assert rows[told["customer_id"]]["score"] == told["score"]
    assert rows.pop("nobody")["degraded"] == "unknown_customer"
    assert all(row["degraded"] is None for row in rows.values())
    return rows


def assert_same(seen: dict[str, Row], read: dict[str, list[Any]]) -> None:
    """Column by column, to the last bit."""
    assert set(contract.MODEL_FEATURES) <= set(read)
    known = 0
    for name in contract.MODEL_FEATURES:
        theirs = dict(zip(read[contract.ENTITY], read[name], strict=True))
        for customer, row in seen.items():
            ours, other = row[name], theirs[customer]
            is_missing = [v is None or v != v for v in (ours, other)]
            assert is_missing[0] == is_missing[1], (name, customer, ours, other)
            assert all(is_missing) or ours == other, (name, customer, ours, other)
            known += not all(is_missing)
    # It is no comparison of nothing with nothing.
    assert known > len(seen) * len(contract.MODEL_FEATURES) * 0.6


def entity_rows() -> list[Row]:
    when = SEND_AT.timestamp()
    return [{contract.ENTITY: one, contract.REQUEST_COLUMN: when} for one in CUSTOMERS]


def read_by_client(feast_store: FeatureStore) -> dict[str, list[Any]]:
    service = feast_store.get_feature_service(contract.FEATURE_SERVICE)
    answer = feast_store.get_online_features(service, entity_rows())
    read: dict[str, list[Any]] = answer.to_dict()
    return read


def read_by_server(feast_store: FeatureStore) -> dict[str, list[Any]]:
    """As any language reads it, over HTTP and JSON."""
    rows = entity_rows()
    asked = {
        "feature_service": contract.FEATURE_SERVICE,
        "entities": {name: [row[name] for row in rows] for name in rows[0]},
    }
    with TestClient(get_app(feast_store, registry_ttl_sec=0)) as client:
        answer = client.post("/get-online-features", json=asked)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    names = body["metadata"]["feature_names"]
    return {name: result["values"] for name, result in zip(names, body["results"], strict=True)}


@pytest.mark.parametrize("write", [written_by_load, written_by_load_and_stream])
def test_feasts_client_and_server_read_what_the_model_saw(
    tmp_path: Path, client: redis.Redis, redis_url: str, write: Any
) -> None:
    world = World(tmp_path / "home", client, redis_url)
    write(world)

    seen = seen_by_the_model(world, redis_url)

    ours, stock = store.open_store(world.settings), stock_store(world.settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for feast_store in (ours, stock):
            assert_same(seen, read_by_client(feast_store))
            assert_same(seen, read_by_server(feast_store))
    assert (
        len({tuple(np.nan_to_num([row[n] for n in NUMBERS]).tolist()) for row in seen.values()})
        == 4
    )
