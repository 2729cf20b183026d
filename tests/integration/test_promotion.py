"""Promotion with a real MLflow: who moved `champion`, and the way back."""

from __future__ import annotations

import json
import shutil
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from typer.testing import CliRunner

with warnings.catch_warnings():
    # MLflow warns about type hints of its own while it is imported.
    warnings.filterwarnings("ignore", ".*Any type hint is inferred", UserWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    from mlflow.exceptions import MlflowException

from feature_repo.errors import UnusableInput
from feature_repo.settings import Settings
from infra.cli import build_app
from serving.calibrator import Platt
from serving.encoder import Encoder
from serving.logistic import Logistic, NumberTerm
from serving.model import ModelUnusable, ScoringModel
from training import trail
from training.package import write_runtime
from training.promoting import UNKNOWN, note_alias_changes, promote, roll_back
from training.registry import Registry, open_registry

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Clock:
    """A minute later at every look."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return open_registry(Settings(home=tmp_path_factory.mktemp("home")))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def a_version(registry: Registry, target: str, folder: Path, gate: str = "passed") -> str:
    """A registered version with a runtime that loads."""
    model = ScoringModel(
        target=target,
        feature_service="send_score_v1",
        encoder=Encoder(("opens",), {}),
        estimator=Logistic(-1.0, (NumberTerm("opens", 0.0, 9.0, 1.0, 1.0, 0.5, 0.0),), ()),
        calibrator=Platt(1.0, 0.0),
        trained_through=NOON.isoformat(),
        base_rate=0.2,
    ).with_examples({"opens": np.arange(6.0)})
    client, experiment = registry.client, registry.experiment_id()
    run = client.create_run(experiment, run_name=target)
    logged = client.create_logged_model(experiment, name=target, source_run_id=run.info.run_id)
    folder.mkdir()
    write_runtime(folder, model, logged.model_id, run.info.run_id)
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    if target not in registry.targets():
        client.create_registered_model(target)
    tags = {"gate.status": gate, "gate.failures": "AUC is lower" if gate == "failed" else ""}
    version = client.create_model_version(
        target,
        source=f"models:/{logged.model_id}",
        run_id=run.info.run_id,
        tags=tags,
        model_id=logged.model_id,
        await_creation_for=0,
    )
    return str(version.version)


def versions(registry: Registry, target: str, folder: Path, *gates: str) -> list[str]:
    return [
        a_version(registry, target, folder / str(number), gate) for number, gate in enumerate(gates)
    ]


def test_the_history_says_who_when_from_what_and_why(
    registry: Registry, clock: Clock, tmp_path: Path
) -> None:
    one, two = versions(registry, "history", tmp_path, "passed", "inconclusive")

    promote(registry, "history", one, by="foresend train", clock=clock, action="first")
    after = promote(registry, "history", two, by="ada", clock=clock, reason="more history")
    again = promote(registry, "history", two, by="ada", clock=clock)
    back = roll_back(registry, "history", by="ben", clock=clock)

    assert after == again == {"champion": two, "launch": two, "champion_previous": one}
    assert back == {"champion": one, "launch": one, "champion_previous": two}
    moves = trail.history(registry, "history")
    assert [(m.action, m.who, m.before, m.after, m.reason) for m in moves] == [
        ("first", "foresend train", None, one, ""),
        ("promoted", "ada", one, two, "more history"),
        ("rolled_back", "ben", two, one, "rolled back"),
    ]
    assert [m.at for m in moves] == sorted(m.at for m in moves)
    assert moves[1].gate == "inconclusive"
    assert moves[1].run_id == registry.version("history", two).run_id
    assert registry.version("history", two).tags["promoted.by"] == "ada"


def test_there_is_no_moment_without_a_champion_and_the_way_back_is_there_before_it_moves(
    registry: Registry, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = versions(registry, "moments", tmp_path, "passed", "passed")
    promote(registry, "moments", one, by="ada", clock=clock)
    seen = []
    for name in ("set_registered_model_alias", "delete_registered_model_alias"):
        original = getattr(registry.client, name)

        def watched(*args: str, call: object = original) -> None:
            call(*args)  # type: ignore[operator]
            seen.append(dict(registry.aliases("moments")))

        monkeypatch.setattr(registry.client, name, watched)

    registry.set_alias("moments", "challenger", two)
    promote(registry, "moments", two, by="ada", clock=clock)

    assert all("champion" in aliases for aliases in seen)
    moved = next(aliases for aliases in seen if aliases["champion"] == two)
    assert (moved["champion_previous"], moved["launch"]) == (one, two)
    assert "challenger" not in seen[-1]


def test_a_version_whose_gates_failed_is_promoted_only_with_a_reason(
    registry: Registry, clock: Clock, tmp_path: Path
) -> None:
    good, bad = versions(registry, "forced", tmp_path, "passed", "failed")
    promote(registry, "forced", good, by="ada", clock=clock)

    with pytest.raises(UnusableInput, match="did not pass its gates: AUC is lower"):
        promote(registry, "forced", bad, by="ada", clock=clock)
    with pytest.raises(UnusableInput, match="--force --reason WHY"):
        promote(registry, "forced", bad, by="ada", clock=clock, force=True)
    assert registry.aliases("forced")["champion"] == good

    promote(registry, "forced", bad, by="ada", clock=clock, force=True, reason="the old one lies")

    assert trail.history(registry, "forced")[-1].reason == "the old one lies"
    assert trail.history(registry, "forced")[-1].gate == "failed"


def test_a_champion_set_in_mlflow_is_enough_and_is_noticed_once(
    registry: Registry, clock: Clock, tmp_path: Path
) -> None:
    one, two = versions(registry, "noticed", tmp_path, "passed", "passed")
    promote(registry, "noticed", one, by="ada", clock=clock)
    registry.set_alias("noticed", "challenger", two)

    registry.client.set_registered_model_alias("noticed", "champion", two)
    noticed = note_alias_changes(registry, clock, ["noticed"])

    assert [(target, move.who, move.before, move.after) for target, move in noticed] == [
        ("noticed", UNKNOWN, one, two)
    ]
    assert registry.aliases("noticed") == {
        "champion": two,
        "launch": two,
        "champion_previous": one,
    }
    assert note_alias_changes(registry, clock, ["noticed"]) == []
    assert roll_back(registry, "noticed", by="ben", clock=clock)["champion"] == one


def test_a_champion_removed_in_mlflow_is_noticed_too(
    registry: Registry, clock: Clock, tmp_path: Path
) -> None:
    (one,) = versions(registry, "removed", tmp_path, "passed")
    promote(registry, "removed", one, by="ada", clock=clock)

    registry.client.delete_registered_model_alias("removed", "champion")
    (noticed,) = note_alias_changes(registry, clock, ["removed"])
    promote(registry, "removed", one, by="ben", clock=clock)

    assert (noticed[1].before, noticed[1].after) == (one, None)
    assert [m.after for m in trail.history(registry, "removed")] == [one, None, one]


def test_the_trail_cannot_be_rewritten_and_outlives_the_deletion_of_its_run(
    registry: Registry, clock: Clock, tmp_path: Path
) -> None:
    (one,) = versions(registry, "kept", tmp_path, "passed")
    promote(registry, "kept", one, by="ada", clock=clock)
    words = "tags.`foresend.kind` = 'promotions' and tags.target = 'kept'"
    (run,) = registry.client.search_runs([registry.experiment_id()], words)
    (key,) = run.data.params

    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        registry.client.log_param(run.info.run_id, key, "{}")
    registry.client.delete_run(run.info.run_id)
    next_year = NOON + timedelta(days=365)
    trail.write(
        registry,
        "kept",
        trail.Move(at=next_year, who="ben", action="promoted", before=one, after="2"),
    )

    assert [move.who for move in trail.history(registry, "kept")] == ["ada", "ben"]


def test_a_version_whose_files_are_gone_is_not_promoted(
    registry: Registry, clock: Clock, tmp_path: Path
) -> None:
    one, two = versions(registry, "gone", tmp_path, "passed", "passed")
    promote(registry, "gone", one, by="ada", clock=clock)
    model_id = registry.version("gone", two).source.removeprefix("models:/")
    location = registry.client.get_logged_model(model_id).artifact_location
    shutil.rmtree(Path(urlsplit(location).path))

    with pytest.raises(ModelUnusable, match="The files of gone version 2 cannot be had"):
        promote(registry, "gone", two, by="ada", clock=clock)

    assert registry.aliases("gone")["champion"] == one


def test_what_cannot_be_promoted_is_a_sentence(
    registry: Registry, clock: Clock, tmp_path: Path
) -> None:
    one, _ = versions(registry, "sentences", tmp_path, "passed", "passed")
    promote(registry, "sentences", one, by="ada", clock=clock)

    with pytest.raises(UnusableInput, match="has no version '9'; it has 2, 1"):
        promote(registry, "sentences", "9", by="ada", clock=clock)
    with pytest.raises(UnusableInput, match="nothing was trained yet"):
        promote(registry, "nosuch", "1", by="ada", clock=clock)
    with pytest.raises(UnusableInput, match="its champion was never another"):
        roll_back(registry, "sentences", by="ada", clock=clock)


def test_the_commands_promote_go_back_and_tell(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = versions(registry, "commands", tmp_path, "passed", "passed")
    monkeypatch.setenv("FORESEND_HOME", str(registry.settings.home))

    def run(*words: str) -> dict[str, object]:
        result = CliRunner().invoke(build_app(), ["models", *words, "--json"])
        assert result.exit_code == 0, result.output
        told: dict[str, object] = json.loads(result.output.splitlines()[-1])
        return told

    run("promote", "commands", one, "--by", "ada")
    run("promote", "commands", two, "--by", "ada", "--reason", "better")
    run("rollback", "commands", "--by", "ben")
    moves = run("history", "commands")["moves"]

    assert [(m["who"], m["after"]) for m in moves] == [  # type: ignore[attr-defined]
        ("ben", one),
        ("ada", two),
        ("ada", one),
    ]
