"""The scoring service as other processes open it: real Redis, real model files, no MLflow."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from feature_repo.settings import Settings
from serving.answers import Answer
from serving.asks import Ask, AskedCustomer
from serving.errors import NoModel
from serving.opened import open_service
from serving.prediction_log import read_predictions
from serving.registry import Version
from serving.settings import ServingSettings
from serving.shelf import Shelf
from tests.conftest import _free_port
from tests.integration.test_serving_process import CONFIG, TARGET, model_with
from tests.integration.test_serving_store import PROJECT, fill

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PATIENT = ServingSettings(
    redis_read_timeout_s=5.0, redis_bulk_timeout_s=5.0, redis_connect_timeout_s=5.0
)


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    """An installation whose registry is away, with customers in Redis."""
    fill(redis_url)
    home = tmp_path / "home"
    home.mkdir()
    (home / "foresend.yaml").write_text(CONFIG)
    return Settings(
        home=home,
        redis_url=SecretStr(redis_url),
        mlflow_uri=f"http://127.0.0.1:{_free_port()}",
        project=PROJECT,
        config=home / "foresend.yaml",
    )


def shelve(settings: Settings) -> None:
    """The version that was served before MLflow went away."""
    folder = settings.home / "model"
    model_with(-2.0).save(folder)
    version = Version(TARGET, "4", "run", "models:/m-4")
    shelf = Shelf(settings.state_path / "models")
    shelf.keep(version, {path.name: path.read_bytes() for path in folder.iterdir()})
    shelf.mark(version)


async def ask_all(settings: Settings, *asks: Ask) -> list[Answer]:
    async with open_service(settings, PATIENT, lambda: NOW) as service:
        return await asyncio.gather(*map(service.score, asks))


def ask_of(*customers: str, reasons: int = 0) -> Ask:
    return Ask(target=TARGET, customers=[AskedCustomer(c) for c in customers], reasons=reasons)


def test_what_was_served_last_scores_and_every_row_is_in_the_log(settings: Settings) -> None:
    shelve(settings)

    answers = asyncio.run(
        ask_all(settings, ask_of("ann", reasons=2), ask_of("nobody", "bob"), ask_of(*["ann"] * 70))
    )

    ann = answers[0].scores[0]
    assert answers[0].model.version == "4"
    assert ann.degraded is None
    assert [row.degraded and row.degraded.cause for row in answers[1].scores] == [
        "unknown_customer",
        None,
    ]
    assert {row.score for row in answers[2].scores} == {ann.score}
    assert ann.reasons is not None
    total = ann.reasons.base + sum(r.points for r in ann.reasons.top) + ann.reasons.other
    assert total == pytest.approx(ann.score, abs=1e-9)
    end = NOW + timedelta(days=1)
    rows = read_predictions(settings, TARGET, NOW, end).to_pylist()
    assert len(rows) == 73
    assert {row["score"] for row in rows if row["customer_id"] == "ann"} == {ann.score}


def test_without_any_model_a_request_is_told_so(settings: Settings) -> None:
    with pytest.raises(NoModel, match=TARGET):
        asyncio.run(ask_all(settings, ask_of("ann")))
