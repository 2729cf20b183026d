"""Following the challenger: it gets its share, and whatever it does, the champion serves on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.errors import RegistryUnavailable
from serving.metrics import Metrics
from serving.refusal import RETRY_AFTER
from serving.registry import CHALLENGER, CHAMPION, Version
from serving.served import FixedModel, Route
from serving.shelf import Shelf
from serving.trials import Trial
from serving.watch import ModelWatch
from tests.unit.serving.conftest import TARGET, World, load_fixed, version_files


class Stage:
    """A watch over a registry in memory."""

    def __init__(self, folder: Path, runner: asyncio.Runner, trial: Trial) -> None:
        self.world = World(folder)
        self.world.promote("1", score=0.25)
        self.metrics = Metrics()
        self.loaded: list[str] = []
        self._trial, self._runner = trial, runner
        self.restart()

    def restart(self) -> None:
        self.watch = ModelWatch(
            self.world.registry,
            Shelf(self.world.folder / "models"),
            self._load,
            (TARGET,),
            Metrics(),
            self.world.clock,
            trials={TARGET: self._trial},
        )
        self.run(self.watch.start())

    def _load(self, folder: Path) -> FixedModel:
        self.loaded.append(folder.name)
        return load_fixed(folder)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self._runner.run(work)

    def poll(self) -> None:
        self.run(self.watch.poll())

    def challenge(self, number: str, **model: Any) -> Version:
        version = Version(TARGET, number, f"run-{number}", f"models:/m-{number}")
        self.world.registry.artifacts[version] = version_files(**model)
        self.world.registry.challengers[TARGET] = version
        return version

    @property
    def route(self) -> Route:
        found = self.watch.route(TARGET)
        assert found is not None
        return found

    def numbers(self) -> tuple[str, str | None]:
        challenger = self.route.challenger
        return (
            self.route.champion.version.number,
            None if challenger is None else challenger.version.number,
        )

    def problem(self, alias: str) -> float | None:
        registry = self.watch.metrics.registry
        labels = {"target": TARGET, "alias": alias}
        return registry.get_sample_value("foresend_model_problem", labels)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def stage(tmp_path: Path, runner: asyncio.Runner) -> Stage:
    return Stage(tmp_path, runner, Trial(shadow=0.2, canary=0.05))


def test_a_challenger_is_routed_to_with_the_shares_of_the_target(stage: Stage) -> None:
    stage.challenge("2", score=0.75)
    stage.poll()

    route = stage.route
    assert stage.numbers() == ("1", "2")
    assert (route.shadow, route.canary) == (0.2, 0.05)
    assert route.challenger is not None
    assert route.challenger.policy is None


def test_a_challenger_that_was_promoted_is_not_loaded_twice(stage: Stage) -> None:
    version = stage.challenge("2", score=0.75)
    stage.poll()
    stage.world.registry.champions[TARGET] = version
    stage.poll()

    assert stage.numbers() == ("2", None)
    assert stage.loaded == ["1", "2"]


def test_a_challenger_that_is_taken_away_serves_no_more(stage: Stage) -> None:
    stage.challenge("2", score=0.75)
    stage.poll()
    del stage.world.registry.challengers[TARGET]
    stage.poll()

    assert stage.numbers() == ("1", None)
    text = stage.watch.metrics.exposition().decode()
    assert "foresend_challenger_info{" not in text


@pytest.mark.parametrize(
    "files",
    [
        {"model.json": b"{", "manifest.json": b"{}"},
        {"manifest.json": b"{}"},
        version_files(feature_names=["horoscope"], categorical=[]),
        version_files(score=float("nan")),
        version_files(score=1.5),
        version_files(nobody="knows"),
        {"model.json": b"[]", "manifest.json": b"{}"},
    ],
    ids=["damaged", "missing", "unknown feature", "NaN", "above 1", "unknown field", "a list"],
)
@pytest.mark.parametrize("alias", [CHALLENGER, CHAMPION])
def test_a_version_that_cannot_be_used_changes_nothing_and_says_so(
    stage: Stage, files: dict[str, bytes], alias: str
) -> None:
    stage.challenge("2", score=0.75)
    stage.poll()
    bad = Version(TARGET, "3", "run-3", "models:/m-3")
    stage.world.registry.artifacts[bad] = files
    by_alias = {
        CHALLENGER: stage.world.registry.challengers,
        CHAMPION: stage.world.registry.champions,
    }
    by_alias[alias][TARGET] = bad
    stage.poll()
    stage.poll()

    assert stage.numbers() == ("1", "2")
    assert stage.problem(alias) == 1.0
    said = {
        CHALLENGER: stage.watch.challengers.problem(TARGET),
        CHAMPION: stage.watch.states[TARGET].problem,
    }[alias]
    assert said is not None
    assert (
        said.startswith(f"{TARGET} version 3 cannot be used: ")
        or "horoscope" in said
        or ("scores are from 0 to 1" in said)
    )
    # Tried once; the next try is in a minute, and the mended version is taken then.
    assert stage.loaded.count("3") == 1
    stage.world.registry.artifacts[bad] = version_files(score=0.5)
    stage.world.clock.now += RETRY_AFTER
    stage.poll()
    assert stage.numbers() == {CHALLENGER: ("1", "3"), CHAMPION: ("3", "2")}[alias]
    assert stage.problem(alias) == 0.0


def test_files_the_registry_lost_are_a_refused_version_not_a_registry_that_is_down(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(_: Version) -> dict[str, bytes]:
        message = "no runtime/manifest.json"
        raise RegistryUnavailable(message)

    stage.challenge("2", score=0.75)
    monkeypatch.setattr(stage.world.registry, "files", lost)
    stage.poll()

    assert stage.numbers() == ("1", None)
    assert stage.watch.unavailable is None
    assert "cannot be read: no runtime/manifest.json" in str(
        stage.watch.challengers.problem(TARGET)
    )


def test_a_registry_that_goes_down_keeps_both(stage: Stage) -> None:
    stage.challenge("2", score=0.75)
    stage.poll()
    stage.world.registry.down = "MLflow does not answer."
    stage.poll()

    assert stage.numbers() == ("1", "2")
    assert stage.watch.unavailable == "MLflow does not answer."


def test_without_shares_no_challenger_is_even_asked_for(
    tmp_path: Path, runner: asyncio.Runner
) -> None:
    stage = Stage(tmp_path, runner, Trial(shadow=0.0, canary=0.0))
    stage.challenge("2", score=0.75)
    stage.poll()

    assert stage.numbers() == ("1", None)
    assert stage.loaded == ["1"]


def test_a_challenger_s_files_stay_while_champions_change(stage: Stage) -> None:
    stage.challenge("2", score=0.75)
    stage.poll()
    for number in ("3", "4", "5"):
        stage.world.promote(number)
        stage.poll()
    kept = {p.name for p in (stage.world.folder / "models" / TARGET).iterdir() if p.is_dir()}

    assert stage.numbers() == ("5", "2")
    assert kept == {"2", "4", "5"}


def test_a_route_that_was_taken_stays_what_it_was(stage: Stage) -> None:
    before = stage.route
    stage.challenge("2", score=0.75)
    stage.world.promote("3", score=0.5)
    stage.poll()

    assert before.champion.version.number == "1"
    assert before.challenger is None
    assert stage.numbers() == ("3", "2")


def test_a_champion_that_cannot_be_remembered_serves_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Shelf, "mark", full)
    stage.world.promote("2", score=0.75)
    stage.poll()

    assert stage.numbers() == ("2", None)
