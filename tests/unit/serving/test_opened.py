"""What a service runs beside its requests is started, and ended without a loss."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from feature_repo.settings import Settings
from serving.last_scores import LastScores
from serving.metrics import Metrics
from serving.opened import running
from serving.prediction_log import Role, read_predictions
from serving.prediction_writer import PredictionWriter
from serving.registry import Version
from serving.scoring import Rules
from serving.service import ScoringService
from serving.shadow import Shadow
from serving.shelf import Shelf
from serving.trials import Trial
from serving.watch import ModelWatch
from tests.unit.serving.conftest import NOW, TARGET, World, version_files
from tests.unit.serving.service_fakes import ask_of


@pytest.fixture
def service(world: World) -> ScoringService:
    challenger = Version(TARGET, "2", "run-2", "models:/m-2")
    world.registry.artifacts[challenger] = version_files(score=0.75)
    world.registry.challengers[TARGET] = challenger
    metrics = Metrics()
    return ScoringService(
        watch=ModelWatch(
            world.registry,
            Shelf(world.folder / "models"),
            world.load,
            world.targets,
            metrics,
            world.clock,
            trials={TARGET: Trial(shadow=1.0)},
        ),
        store=world.store,
        predictions=PredictionWriter(
            world.predictions, metrics, flush_s=3600, flush_rows=10**9, queue_rows=1000
        ),
        metrics=metrics,
        rules=Rules(1e9, 5.0),
        clock=world.clock,
        last_scores=LastScores(100),
        shadow=Shadow(metrics.promotion.shadow),
    )


def roles_in(folder: Path) -> list[tuple[str, str, float]]:
    end = NOW + timedelta(days=1)
    table = read_predictions(Settings(home=folder), TARGET, NOW, end, roles=tuple(Role))
    return sorted((r["role"], r["model_version"], r["score"]) for r in table.to_pylist())


def test_all_that_was_answered_and_shadowed_is_in_the_log_afterwards(
    world: World, service: ScoringService
) -> None:
    async def run() -> None:
        async with running(service, poll_s=3600):
            await service.score(ask_of("ann", "nobody"))

    asyncio.run(run())

    assert roles_in(world.folder) == [
        ("champion", "1", 0.05),
        ("champion", "1", 0.25),
        ("shadow", "2", 0.75),
    ]


def test_a_failure_inside_loses_nothing_either(world: World, service: ScoringService) -> None:
    async def run() -> None:
        async with running(service, poll_s=3600):
            await service.score(ask_of("ann"))
            message = "the work broke"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="the work broke"):
        asyncio.run(run())

    assert ("champion", "1", 0.25) in roles_in(world.folder)


def test_a_watch_that_ends_by_itself_is_told(
    service: ScoringService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        message = "a mistake"
        raise AssertionError(message)

    async def run() -> None:
        async with running(service, poll_s=0.001):
            monkeypatch.setattr(service.watch, "poll", broken)
            for _ in range(200):
                await asyncio.sleep(0.005)
                if service.watch.unavailable is not None:
                    break
            assert "the watch ended" in str(service.watch.unavailable)

    asyncio.run(run())
