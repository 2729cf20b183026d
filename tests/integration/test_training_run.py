from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

with warnings.catch_warnings():
    # MLflow warns about type hints of its own while it is imported.
    warnings.filterwarnings("ignore", ".*Any type hint is inferred", UserWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    import mlflow.pyfunc
    from mlflow.models import Model

from feature_repo.config import SHIPPED, read_config
from feature_repo.errors import NotReady, StoreUnavailable, UnusableInput
from feature_repo.event import Event, EventType
from feature_repo.history import duck
from feature_repo.history.build import build
from feature_repo.history.log import EventLog
from feature_repo.history.schema import EVENTS
from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.targets import Target
from serving.model import ScoringModel
from training import trail
from training.dataset import Dataset
from training.folds import TooFewRows
from training.gates.report import report_from
from training.listing import list_versions
from training.registry import open_registry
from training.retrieval import Decided, decide, with_features
from training.run import LeakageFound, train

pytestmark = [
    pytest.mark.integration,
    # Feast, MLflow and Ibis warn about each other's and their own changes; none is ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

START = datetime(2024, 1, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
SENDS = 26


def history(customers: int = 240) -> list[Event]:
    """Weekly mailings; half the customers like to click; a third of the events reach us late."""
    random = np.random.default_rng(7)
    events: list[Event] = []

    def add(kind: EventType, customer: int, at: datetime, late: timedelta, **more: Any) -> None:
        number = len(events)
        events.append(
            Event(
                event_id=f"e{number}",
                type=kind,
                customer_id=f"c{customer}",
                event_time=at,
                received_time=at + late,
                **more,
            )
        )

    for customer in range(customers):
        likes = 0.45 if customer % 2 else 0.05
        for week in range(SENDS):
            sent = START + week * 7 * DAY + timedelta(minutes=customer)
            message = f"m{customer}-{week}"
            add(EventType.SENT, customer, sent, timedelta(0), message_id=message)
            late = 9 * DAY if random.uniform() < 0.3 else timedelta(minutes=1)
            if random.uniform() < likes:
                at = sent + timedelta(hours=float(random.uniform(1, 20)))
                add(EventType.CLICKED, customer, at, late, message_id=message)
            if random.uniform() < likes / 2:
                at = sent + timedelta(hours=float(random.uniform(20, 90)))
                add(EventType.PURCHASED, customer, at, late, amount=20.0, currency="EUR")
    return events


def an_installation(home: Path, events: Sequence[Event]) -> Settings:
    """A log with the events, and features built from it."""
    settings = Settings(home=home)
    with duck.connect(settings) as con:
        rows = pa.Table.from_pylist([asdict(event) for event in events], EVENTS)
        EventLog(settings.log_path).append(con, con.from_arrow(rows))
    build(settings, through=max(event.received_time for event in events))
    return settings


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return history()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, events: list[Event]) -> Settings:
    return an_installation(tmp_path_factory.mktemp("home"), events)


@pytest.fixture(scope="module")
def click_7d(tmp_path_factory: pytest.TempPathFactory) -> Target:
    path = tmp_path_factory.mktemp("config") / "foresend.yaml"
    path.write_text("targets: {click_7d: {event: clicked, horizon_days: 7, spine: sent}}")
    return read_config(path).target("click_7d")


@pytest.fixture(scope="module")
def trained(installed: Settings, click_7d: Target) -> list[dict[str, Any]]:
    """Two trainings of the same rows."""
    return [train(installed, click_7d, seed=3) for _ in range(2)]


def test_equal_rows_and_seed_give_equal_metrics(trained: list[dict[str, Any]]) -> None:
    # Alone, a level beyond its limit asks for a person; beside a champion as far off it does not.
    volatile = {"run_id", "version", "aliases", "gate_asks"}

    first, second = ({k: v for k, v in t.items() if k not in volatile} for t in trained)

    assert first == second
    assert first["auc"] > 0.65


def test_the_result_says_what_was_counted_and_what_was_too_young(
    trained: list[dict[str, Any]], events: list[Event]
) -> None:
    found = trained[0]
    sends = sum(event.type is EventType.SENT for event in events)

    assert found["rows"] + found["excluded_immature"] == sends
    assert found["excluded_immature"] > 0
    assert found["grace_days"] == pytest.approx(9.0)
    assert 0 < found["positives"] < found["rows"]


def test_the_first_version_that_passes_is_champion_and_the_next_is_challenger(
    installed: Settings, trained: list[dict[str, Any]]
) -> None:
    assert [found["aliases"] for found in trained] == [["launch", "champion"], ["challenger"]]

    listed = list_versions(open_registry(installed), ["click_7d"])

    assert [row["version"] for row in listed] == ["2", "1"]
    assert [row["aliases"] for row in listed] == [["challenger"], ["champion", "launch"]]
    assert listed[0]["auc"] == pytest.approx(trained[1]["auc"])


def test_a_version_is_found_by_its_tags_and_its_run_holds_the_evidence(
    installed: Settings, trained: list[dict[str, Any]]
) -> None:
    client = open_registry(installed).client
    tags = client.get_model_version("click_7d", "1").tags
    run = client.get_run(trained[0]["run_id"])

    assert tags["gate.status"] == "passed"
    assert tags["dataset_sha256"] == trained[0]["dataset_sha256"]
    assert run.info.status == "FINISHED"
    assert run.data.params["target.horizon_days"] == "7.0"
    assert run.data.params["features.activity.digest"]
    assert len(run.data.params["config.sha256"]) == 64
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert names >= {
        *("roc.png", "precision_recall.png", "calibration.png", "lift.png", "scores.png"),
        *("importance.png", "contributions.png", "gates.html", "gates.json", "audit.html"),
        *("folds.json", "feature_tables.json", "model_card.md"),
    }


def test_the_data_of_a_run_are_logged_under_our_own_digest(
    installed: Settings, trained: list[dict[str, Any]]
) -> None:
    run = open_registry(installed).client.get_run(trained[0]["run_id"])

    data = {logged.tags[0].value: logged.dataset for logged in run.inputs.dataset_inputs}

    assert data["training"].digest == trained[0]["dataset_sha256"][:36]
    assert data["test"].digest != data["training"].digest
    assert json.loads(data["training"].source)["path"] == str(installed.log_path)
    assert json.loads(data["test"].profile)["rows"] == trained[0]["test_rows"]


def test_every_candidate_is_a_child_run_and_one_of_them_won(
    installed: Settings, trained: list[dict[str, Any]]
) -> None:
    registry = open_registry(installed)
    week = trained[0]["week"]

    children = registry.client.search_runs(
        [registry.experiment_id()],
        f"tags.`foresend.kind` = 'candidate' and tags.week = '{week}' "
        f"and tags.mlflow.parentRunId = '{trained[0]['run_id']}'",
    )

    won = [run.data.tags["candidate"] for run in children if run.data.tags["is_chosen"] == "true"]
    assert won == [trained[0]["chosen"]]
    assert len(children) >= 2
    assert {run.info.run_name for run in children} >= {f"click_7d {week} logistic"}
    assert all("fold_log_loss" in run.data.metrics for run in children)


def test_a_version_has_a_card_an_example_and_metrics_of_its_own(
    installed: Settings, trained: list[dict[str, Any]], tmp_path: Path
) -> None:
    registry = open_registry(installed)
    version = registry.version("click_7d", "2")
    logged = registry.client.get_logged_model(version.source.removeprefix("models:/"))
    folder = mlflow.artifacts.download_artifacts(
        artifact_uri="models:/click_7d/2", dst_path=str(tmp_path), tracking_uri=registry.uri
    )

    described = Model.load(folder)

    assert version.description.startswith(f"# click_7d, {trained[0]['week']}")
    assert f"Chosen: {trained[0]['chosen']}" in version.description
    assert "against version 1: passed" in version.description
    assert len(version.description) <= 5000
    own = {metric.key: metric for metric in logged.metrics}
    assert own["auc"].value == trained[1]["auc"]
    assert own["auc"].dataset_name.endswith("test")
    assert own["gate.auc"].value == 0.0
    example = described.load_input_example(folder)
    assert list(example.columns) == described.signature.inputs.input_names()
    scores = mlflow.pyfunc.load_model(folder).predict(example)
    assert np.all((scores > 0) & (scores < 1))


def test_the_second_version_was_compared_with_the_first_on_the_same_rows(
    installed: Settings, trained: list[dict[str, Any]], tmp_path: Path
) -> None:
    client = open_registry(installed).client
    path = client.download_artifacts(trained[1]["run_id"], "gates.json", str(tmp_path))

    rows = {row.name: row for row in report_from(json.loads(Path(path).read_text())).rows}

    assert rows["auc"].value == rows["log_loss"].value == rows["score_shift"].value == 0.0
    assert "compared with version 1" in rows["champion"].detail
    assert rows["latency"].value > 0
    assert any(name.startswith("segment.tenure.") for name in rows)


def test_rows_that_leak_are_logged_as_a_failed_run_and_registered_as_nothing(
    installed: Settings, leaking: Settings, click_7d: Target, tmp_path: Path
) -> None:
    """An honest log beside features that know events from the moment they happened on."""
    settings = Settings(home=tmp_path / "home")
    shutil.copytree(
        installed.home, settings.home, ignore=shutil.ignore_patterns("mlflow", "registry*")
    )
    for view in (leaking.home / "features").iterdir():
        shutil.rmtree(settings.home / "features" / view.name)
        shutil.copytree(view, settings.home / "features" / view.name)

    with pytest.raises(LeakageFound, match="its rows leak") as refused:
        train(settings, click_7d)

    registry = open_registry(settings)
    run = registry.client.get_run(refused.value.run_id)
    assert refused.value.exit_code == 1
    assert run.info.status == "FAILED"
    assert run.data.tags["gate.status"] == "failed"
    names = {artifact.path for artifact in registry.client.list_artifacts(run.info.run_id)}
    assert {"audit.html", "audit.json", "gates.html"} <= names
    assert registry.targets() == []


def test_mlflow_s_own_loader_gives_the_runtime_s_scores(
    installed: Settings, trained: list[dict[str, Any]], tmp_path: Path
) -> None:
    registry = open_registry(installed)
    folder = Path(
        mlflow.artifacts.download_artifacts(
            artifact_uri="models:/click_7d/1", dst_path=str(tmp_path), tracking_uri=registry.uri
        )
    )
    sample = pq.read_table(folder / "launch" / "sample.parquet").to_pandas()
    model = ScoringModel.load(folder / "runtime")
    columns = {
        name: sample[name].to_numpy(dtype=object if name in model.categorical else np.float64)
        for name in model.feature_names
    }

    loaded = mlflow.pyfunc.load_model("models:/click_7d@champion")

    assert model.predict(columns).tolist() == sample["score"].tolist()
    frame = sample.drop(columns="score")
    assert np.asarray(loaded.predict(frame)).tolist() == sample["score"].tolist()


def known_totals(events: Sequence[Event], decided: Decided) -> dict[str, list[float]]:
    """Clicks and purchases of each decision's customer, of events received by its time."""
    kinds = {"clicks_total": EventType.CLICKED, "purchases_total": EventType.PURCHASED}
    received: dict[tuple[str, EventType], list[datetime]] = {}
    for event in events:
        received.setdefault((event.customer_id, event.type), []).append(event.received_time)
    times = [datetime.fromtimestamp(us / 1e6, UTC) for us in decided.at_us.tolist()]
    return {
        name: [
            float(sum(r <= at for r in received.get((customer, kind), [])))
            for customer, at in zip(decided.customer, times, strict=True)
        ]
        for name, kind in kinds.items()
    }


def assert_no_row_uses_the_future(
    dataset: Dataset, events: Sequence[Event], decided: Decided
) -> None:
    for name, expected in known_totals(events, decided).items():
        # A customer of whom nothing is known has no totals yet.
        found = np.nan_to_num(dataset.columns[name]).tolist()
        assert found == expected, name


def test_no_training_row_uses_an_event_received_after_its_time(
    installed: Settings, click_7d: Target, events: list[Event]
) -> None:
    decided = decide(installed, click_7d, None)

    dataset = with_features(open_store(installed), decided)

    assert_no_row_uses_the_future(dataset, events, decided)


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory, events: list[Event]) -> Settings:
    """Features that hold an event from the moment it happened on, whenever we learned of it."""
    by_event_time = [replace(event, received_time=event.event_time) for event in events]
    return an_installation(tmp_path_factory.mktemp("leaking"), by_event_time)


def test_that_test_fails_when_the_join_goes_by_event_time(
    installed: Settings, leaking: Settings, click_7d: Target, events: list[Event]
) -> None:
    decided = decide(installed, click_7d, None)

    dataset = with_features(open_store(leaking), decided)

    with pytest.raises(AssertionError, match="clicks_total"):
        assert_no_row_uses_the_future(dataset, events, decided)


def test_features_that_lag_the_log_are_refused(
    tmp_path: Path, click_7d: Target, events: list[Event]
) -> None:
    settings = an_installation(tmp_path, events[:2000])
    with duck.connect(settings) as con:
        rows = pa.Table.from_pylist([asdict(event) for event in events[2000:2010]], EVENTS)
        EventLog(settings.log_path).append(con, con.from_arrow(rows))

    with pytest.raises(NotReady, match="10 rows of the event log are in no feature yet"):
        train(settings, click_7d)


def test_nothing_imported_is_said_so(tmp_path: Path, click_7d: Target) -> None:
    with pytest.raises(NotReady, match="foresend import"):
        train(Settings(home=tmp_path), click_7d)


def test_too_few_rows_are_counted(tmp_path: Path, click_7d: Target, events: list[Event]) -> None:
    settings = an_installation(tmp_path, events[:80])

    with pytest.raises(TooFewRows, match="at least 40 of each are needed"):
        train(settings, click_7d)


def test_a_target_without_a_single_decision_is_told_from_a_thin_one(
    tmp_path: Path, click_7d: Target, events: list[Event]
) -> None:
    settings = an_installation(
        tmp_path, [event for event in events[:300] if event.type is EventType.PURCHASED]
    )

    with pytest.raises(NotReady, match="no message was sent"):
        train(settings, click_7d)


def test_a_time_after_the_newest_row_is_refused(installed: Settings, click_7d: Target) -> None:
    with pytest.raises(UnusableInput, match="Nothing in the log was received after"):
        train(installed, click_7d, as_of=datetime(2030, 1, 1, tzinfo=UTC))


def test_an_mlflow_that_does_not_answer_is_a_sentence_before_any_work(
    installed: Settings, click_7d: Target
) -> None:
    settings = Settings(home=installed.home, mlflow_uri="http://127.0.0.1:9")

    with pytest.raises(StoreUnavailable, match=r"MLflow does not answer at http://127.0.0.1:9"):
        train(settings, click_7d)


@pytest.fixture
def server(installed: Settings, trained: list[dict[str, Any]], tmp_path: Path) -> Iterator[str]:
    """An MLflow server started on the database that was trained into without one."""
    folder = installed.home / "mlflow"
    port = 20_000 + os.getpid() % 20_000
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    try:
        for _ in range(240):
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            try:
                if httpx.get(f"{url}/health").is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def test_a_version_logged_without_a_server_is_read_over_rest_by_one_started_later(
    server: str,
    trained: list[dict[str, Any]],
    click_7d: Target,
    installed: Settings,
    tmp_path: Path,
) -> None:
    def artifact(name: str) -> bytes:
        query = {"name": "click_7d", "version": "1", "path": f"runtime/{name}"}
        return httpx.get(f"{server}/model-versions/get-artifact", params=query).content

    (tmp_path / "manifest.json").write_bytes(artifact("manifest.json"))
    for name in httpx.Response(200, content=artifact("manifest.json")).json():
        (tmp_path / name).write_bytes(artifact(name))
    assert ScoringModel.load(tmp_path).target == "click_7d"

    # And the other way round: trained through the server, without naming it in the settings, and
    # promoted by nobody.
    declared = tmp_path / "foresend.yaml"
    shipped = SHIPPED.read_text()
    declared.write_text(shipped.replace("promotion: manual", "promotion: auto"))
    automatic = Settings(home=installed.home, config=declared)
    (installed.home / "state" / "stack.json").write_text(
        f'{{"services": {{"mlflow": {{"url": "{server}"}}}}}}'
    )
    through_server = train(automatic, click_7d, seed=3)
    (installed.home / "state" / "stack.json").unlink()

    assert through_server["auc"] == trained[0]["auc"]
    assert through_server["aliases"] == ["launch", "champion"]
    aliases = open_registry(installed).aliases("click_7d")
    assert (aliases["champion"], aliases["champion_previous"]) == (through_server["version"], "1")
    moves = trail.history(open_registry(installed), "click_7d")
    assert [move.action for move in moves] == ["first", "automatic"]
