"""Tiers from proposal to answer: the real commands, MLflow server, Redis and API."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from feature_repo.errors import ForesendError, NotReady, UnusableInput
from feature_repo.settings import Settings
from infra.cli import build_app
from serving.model import ScoringModel
from tests.integration.test_serving_process import (
    TARGET,
    Api,
    apis,  # noqa: F401
    model_with,
    start_api,
    until,
)
from tests.integration.test_serving_store import fill
from training.dataset import Dataset
from training.registry import Registry, open_registry
from training.result import Trained
from training.tiers.proposal import OWN_SCORES
from training.tiers.registry import propose_for, propose_version
from training.tiers.rules import TierRules
from training.tiers.standing import standing_of

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ROWS = 2_000


def sampled(model: ScoringModel, folder: Path, *, with_label: bool = True) -> None:
    """Rows of a test period as training stores them beside a version's runtime."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "opens_30d": random.integers(0, 12, ROWS).astype(np.float64),
        "opens_d28": random.normal(0, 1, ROWS),
        "country": random.choice(np.array(["DE", "FR"], dtype=object), ROWS),
    }
    score = model.predict(columns)
    known = {"label": (random.random(ROWS) < score).astype(np.int8)} if with_label else {}
    more = {"weight": np.ones(ROWS), "customer": np.arange(ROWS) // 2}
    (folder / "launch").mkdir(parents=True)
    pq.write_table(
        pa.table(columns | {"score": score} | known | more), folder / "launch" / "sample.parquet"
    )


def register(url: str, folder: Path, model: ScoringModel, **more: Any) -> str:
    """A champion with runtime and sample; its number."""
    client = MlflowClient(url)
    found = client.get_experiment_by_name("tiers-tests")
    experiment = found.experiment_id if found else client.create_experiment("tiers-tests")
    run = client.create_run(experiment)
    model.save(folder / "runtime")
    sampled(model, folder, **more)
    client.log_artifacts(run.info.run_id, str(folder))
    if not client.search_registered_models(f"name = '{TARGET}'"):
        client.create_registered_model(TARGET)
    version = client.create_model_version(TARGET, run.info.artifact_uri, run.info.run_id)
    client.set_registered_model_alias(TARGET, "champion", version.version)
    return str(version.version)


@pytest.fixture
def registry(mlflow_server: str, tmp_path: Path) -> Registry:
    return open_registry(Settings(home=tmp_path / "home", mlflow_uri=mlflow_server))


@pytest.fixture
def tiers(mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `foresend tiers ... --json` and gives its last line."""
    config = tmp_path / "tiers.yaml"
    config.write_text(
        f"targets: {{{TARGET}: {{event: purchased, horizon_days: 30, spine: weekly}}}}\n"
        "tiers: {capacity: {high: 0.1, medium: 0.3}}\n"
    )
    monkeypatch.setenv("FORESEND_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FORESEND_CONFIG", str(config))
    monkeypatch.setenv("FORESEND_MLFLOW_URI", mlflow_server)

    def run(*words: str) -> dict[str, Any]:
        done = CliRunner().invoke(build_app(), ["tiers", *words, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        result: dict[str, Any] = json.loads(done.output.strip().splitlines()[-1])
        return result

    return run


def answered(api: Api) -> tuple[str, str | None, str | None, bool | None]:
    """Champion, tier of ann, version whose policy gave it, whether that is current."""
    body = api.ask("ann").json()
    policy = body["tier_policy"] or {}
    version = body["model"]["version"]
    tier = body["scores"][0]["tier"]
    return version, tier, policy.get("model_version"), policy.get("is_current")


def is_answered(api: Api, champion: str, policy: str, *, is_current: bool) -> bool:
    found = answered(api)
    return (found[0], found[2], found[3]) == (champion, policy, is_current)


def test_tiers_are_served_from_their_approval_on_and_the_last_ones_go_on(
    redis_url: str,
    mlflow_server: str,
    registry: Registry,
    tiers: Any,
    tmp_path: Path,
    apis: list[Api],  # noqa: F811
) -> None:
    fill(redis_url)
    one = register(mlflow_server, tmp_path / "one", model_with(-1.0))
    apis.append(api := start_api(tmp_path / "home", redis_url, mlflow_server))

    proposed = tiers("propose", TARGET)
    # Five looks at the registry and more.
    time.sleep(1.5)
    assert proposed["method"] == "capacity"
    assert [tier["share"] for tier in proposed["tiers"]] == pytest.approx([0.6, 0.3, 0.1], abs=0.01)
    assert all(tier["observed"] is not None for tier in proposed["tiers"])
    assert answered(api) == (one, None, None, None)

    tiers("approve", TARGET, "--by", "Ann Smith")
    until(lambda: is_answered(api, one, one, is_current=True), "the approved tiers are served")
    body = api.ask("ann", "nobody").json()
    assert body["tier_policy"]["approved_by"] == "Ann Smith"
    assert body["tier_policy"]["cuts"] == proposed["cuts"]
    places = [sum(row["score"] >= cut for cut in proposed["cuts"]) for row in body["scores"]]
    assert [row["tier"] for row in body["scores"]] == [proposed["names"][i] for i in places]

    two = register(mlflow_server, tmp_path / "two", model_with(0.5))
    moved = tiers("propose", TARGET)
    until(lambda: is_answered(api, two, one, is_current=False), "the last tiers go on, saying so")
    assert moved["model_version"] == two
    assert moved["moves"]["from_version"] == one
    assert moved["moves"]["basis"] == OWN_SCORES
    assert sum(map(sum, moved["moves"]["counts"])) == ROWS

    tiers("approve", TARGET, "--by", "Ann Smith", "--names", "cold,hot", "--cuts", "0.5")
    until(lambda: is_answered(api, two, two, is_current=True), "the new tiers are served")
    assert answered(api)[1] in {"cold", "hot"}

    rejected = tiers("reject", TARGET, "--by", "Bob", "--reason", "too many are hot")
    until(lambda: is_answered(api, two, one, is_current=False), "the tiers before are served again")
    assert rejected["in_force"]["model_version"] == one

    registry.client.set_model_version_tag(TARGET, two, "tiers.policy", '{"names": [')
    registry.client.set_model_version_tag(TARGET, two, "tiers.status", "approved")
    until(lambda: "damaged" in " ".join(api.ready()[1]["reasons"]), "the damage is told")
    assert answered(api)[2:] == (one, False)
    assert api.ready()[0] == 200

    decided = tiers("show", TARGET)["history"]
    assert [(d["decision"], d["by"]) for d in decided] == [
        ("approved", "Ann Smith"),
        ("withdrawn", "Bob"),
    ]
    run_id = standing_of(registry, TARGET, two).run_id
    files = {f.path for f in registry.client.list_artifacts(run_id, "tiers")}
    assert {"tiers/proposal.json", "tiers/proposal.png", "tiers/decisions"} <= files
    assert len(registry.client.list_artifacts(run_id, "tiers/decisions")) == 2
    registry.client.set_model_version_tag(TARGET, two, "tiers.status", "rejected")

    assert api.stop() == 0
    apis.append(again := start_api(tmp_path / "home", redis_url, "http://127.0.0.1:9"))
    assert answered(again)[2:] == (one, False)


def test_a_new_proposal_waits_beside_the_approved_tiers(
    mlflow_server: str, registry: Registry, tiers: Any, tmp_path: Path
) -> None:
    number = register(mlflow_server, tmp_path / "one", model_with(-1.0), with_label=False)
    with pytest.raises(NotReady, match="foresend tiers propose"):
        tiers("approve", TARGET, "--by", "Ann")
    tiers("propose", TARGET)
    first = tiers("approve", TARGET, "--by", "Ann")

    usual = propose_version(registry, TARGET, None, TierRules(names=("low", "high")))
    waiting = tiers("show", TARGET)
    assert (waiting["status"], waiting["open"]["names"]) == ("approved", ["low", "high"])
    assert waiting["in_force"]["cuts"] == first["cuts"]
    # No outcomes were kept for this version.
    assert usual.tiers[0].observed is None

    assert tiers("reject", TARGET, "--by", "Ann", "--reason", "two are too few")["status"] == (
        "approved"
    )
    propose_version(registry, TARGET, None, TierRules(names=("low", "high")))
    second = tiers("approve", TARGET, "--by", "Bob")
    shown = tiers("show", TARGET)
    assert (second["names"], shown["open"]) == (["low", "high"], None)
    assert shown["in_force"]["approved_by"] == "Bob"
    assert shown["in_force"]["model_version"] == number


@pytest.mark.parametrize(
    ("words", "problem", "said"),
    [
        (("approve", TARGET, "--by", " "), UnusableInput, "name of who decides"),
        (("approve", TARGET, "--by", "A", "--cuts", "0.5,x"), ForesendError, "with commas"),
        (("approve", TARGET, "--by", "A", "--cuts", "0.1,0.2,2"), UnusableInput, "between 0 and 1"),
        (("approve", TARGET, "--by", "A", "--version", "999"), UnusableInput, "no version '999'"),
        (("reject", TARGET, "--by", "A", "--reason", " "), UnusableInput, "say why"),
        (("propose", "purchase_31d"), ForesendError, "purchase_30d"),
        (("show", "nosuch"), NotReady, "foresend train nosuch"),
    ],
)
def test_what_cannot_be_decided_is_a_sentence(
    mlflow_server: str,
    registry: Registry,
    tiers: Any,
    tmp_path: Path,
    words: tuple[str, ...],
    problem: type[Exception],
    said: str,
) -> None:
    if not registry.versions(TARGET):
        register(mlflow_server, tmp_path / "one", model_with(-1.0))
        tiers("propose", TARGET)

    with pytest.raises(problem, match=said):
        tiers(*words)


def test_training_proposes_from_its_whole_test_period(
    mlflow_server: str, registry: Registry, tiers: Any, tmp_path: Path
) -> None:
    number = register(mlflow_server, tmp_path / "one", model_with(-1.0))
    random = np.random.default_rng(1)
    score = random.beta(2, 8, 4_000)
    test = Dataset(
        columns={},
        label=(random.random(4_000) < score).astype(np.int8),
        at_us=np.arange(4_000),
        customer=np.array([f"c-{i // 4}" for i in range(4_000)], dtype=object),
        weight=np.ones(4_000),
    )
    trained = SimpleNamespace(
        decided=SimpleNamespace(target=SimpleNamespace(name=TARGET)),
        test=test,
        judged=SimpleNamespace(score=score),
        champion=None,
        seed=3,
    )

    proposal = propose_for(registry, cast(Trained, trained), number)
    shown = tiers("show", TARGET, "--version", number)

    assert (proposal.rows, proposal.method) == (4_000, "response")
    assert shown["status"] == "proposed"
    assert shown["proposal"]["cuts"] == list(proposal.cuts)
    assert shown["open"]["cuts"] == list(proposal.cuts)
