from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from feature_repo.errors import ForesendError, StoreUnavailable, UnusableInput
from feature_repo.settings import Settings
from infra.commands import report_drift as command
from monitoring.champion import read_champion
from monitoring.errors import NoChampion, NoLaunchProfile, NoPredictions
from monitoring.report import DriftReport, report_drift
from serving.asks import AskedCustomer
from serving.prediction_log import PredictionBatch, write_batches
from serving.profile import launch_profile

pytestmark = [
    pytest.mark.integration,
    # MLflow 3.17 opens its SQLite store with what SQLAlchemy 2.1 has deprecated.
    pytest.mark.filterwarnings("ignore:.*noload.*:DeprecationWarning"),
]

TARGET = "purchase_30d"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS = 2000
Columns = dict[str, npt.NDArray[Any]]


def population(seed: int, rows: int = ROWS) -> Columns:
    rng = np.random.default_rng(seed)
    recency = rng.exponential(400.0, rows)
    recency[rng.random(rows) < 0.2] = np.nan
    return {
        "revenue_30d": np.where(rng.random(rows) < 0.3, 0.0, rng.lognormal(3, 1, rows)),
        "opens_7d": rng.poisson(1.5, rows).astype(np.float64),
        "country": rng.choice(
            np.array(["GB", "DE", None], dtype=object), rows, p=[0.8, 0.15, 0.05]
        ),
        "hours_since_last_open": recency,
        "score": rng.beta(1.1, 14, rows),
    }


def embedded(home: Path) -> str:
    """Tracking URI of a database under a home, as without a server."""
    (home / "mlflow").mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"


def register(uri: str, folder: Path, *, target: str = TARGET, launch: bool = True) -> None:
    """A champion, as training registers one; its files pass through `folder`."""
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    place = None if uri.startswith("http") else str(folder / "artifacts")
    run = client.create_run(client.create_experiment(f"of-{target}", artifact_location=place))
    if launch:
        files = folder / "files" / "launch"
        files.mkdir(parents=True)
        columns = population(1)
        score = columns.pop("score")
        document = launch_profile(columns, score, customers=ROWS, created_at=NOW)
        (files / "profile.json").write_text(json.dumps(document))
        pq.write_table(pa.table(columns | {"score": score}), files / "sample.parquet")
        client.log_artifacts(run.info.run_id, str(files.parent), "model")
    client.create_registered_model(target)
    client.create_model_version(target, f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias(target, "champion", "1")


def predict(
    settings: Settings,
    columns: Columns,
    *,
    at: datetime,
    version: str = "1",
    prefix: str = "c",
    without: tuple[str, ...] = (),
    known: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Rows in the prediction log, written by the service's own writer."""
    rows = len(columns["score"])
    names = tuple(n for n in columns if n != "score" and n not in without)
    numbers = [
        np.full(rows, np.nan) if n == "country" else columns[n].astype(np.float64) for n in names
    ]
    batch = PredictionBatch(
        scored_at=at,
        target=TARGET,
        model_version=version,
        feature_service="send_score_v1",
        feature_names=names,
        text_names=("country",) if "country" in names else (),
        customers=[AskedCustomer(f"{prefix}{i}") for i in range(rows)],
        request_ids=["r"] * rows,
        send_at=np.full(rows, at.timestamp()),
        scores=columns["score"],
        as_of=np.full(rows, np.nan),
        degraded=[None] * rows,
        features=np.column_stack(numbers),
        texts=[columns["country"]] if "country" in names else [],
        modelled=np.ones(rows, dtype=np.bool_) if known is None else known,
    )
    write_batches(settings.predictions_path, [batch])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion and no predictions, for tests to read."""
    home = tmp_path_factory.mktemp("home")
    register(embedded(home), tmp_path_factory.mktemp("files"))
    return home


@pytest.fixture
def settings(registry: Path, tmp_path: Path) -> Settings:
    """A fresh home that shares the registry."""
    return Settings(home=tmp_path, mlflow_uri=embedded(registry))


def report(settings: Settings, *, days: int = 90, as_of: datetime = NOW) -> DriftReport:
    return report_drift(
        settings, TARGET, days=days, as_of=as_of, clock=lambda: NOW, say=lambda _: None
    )


def test_an_unchanged_population_gives_ok_and_three_files(settings: Settings) -> None:
    predict(settings, population(2), at=NOW - timedelta(hours=1))

    found = report(settings)

    assert found.verdict.status == "ok"
    assert found.verdict.exit_code == 0
    assert sorted(p.name for p in found.folder.iterdir()) == [
        "evidently.html",
        "index.html",
        "verdict.json",
    ]
    assert (found.folder.parent / "latest").read_text().strip() == found.folder.name


def test_a_unit_bug_is_found_named_and_traced_to_its_view(settings: Settings) -> None:
    columns = population(3)
    predict(
        settings, columns | {"revenue_30d": columns["revenue_30d"] * 100}, at=NOW - timedelta(1)
    )

    found = report(settings)

    assert found.verdict.exit_code == 1
    assert any(
        "customer_daily" in cause and "revenue_30d" in cause and "100 times" in cause
        for cause in found.document["causes"]
    )
    moved = [f["name"] for f in found.document["features"] if f["status"] != "ok"]
    assert moved == ["revenue_30d"]


def test_the_page_and_the_evidently_report_ask_nothing_of_the_network(settings: Settings) -> None:
    predict(settings, population(2), at=NOW - timedelta(hours=1))

    folder = report(settings).folder

    loads = re.compile(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["']?https?://""", re.I)
    for name in ("index.html", "evidently.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert loads.search(text) is None
        assert len(text) > 1000
    assert "http" not in (folder / "index.html").read_text(encoding="utf-8")


def test_the_verdict_file_says_what_the_command_prints_last(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(settings, population(2), at=NOW - timedelta(hours=1))

    result = run(settings, monkeypatch, "--as-of", NOW.isoformat(), "--json")

    assert result.exit_code == 0
    printed = json.loads(result.stdout.splitlines()[-1])
    assert printed == json.loads(Path(printed["report"]).with_name("verdict.json").read_text())
    assert printed["window"]["customers"] == ROWS


def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    """`foresend report drift` with these words."""
    monkeypatch.setenv("FORESEND_HOME", str(settings.home))
    monkeypatch.setenv("FORESEND_MLFLOW_URI", str(settings.mlflow_uri))
    app = typer.Typer()
    app.command()(command.command)
    return CliRunner().invoke(app, ["--target", TARGET, *words])


def test_drift_exits_1(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = population(4)
    columns["opens_7d"][: ROWS // 10] = np.nan
    predict(settings, columns, at=NOW - timedelta(hours=1))

    result = run(settings, monkeypatch, "--as-of", "2026-03-01T12:00")

    assert result.exit_code == 1
    assert "missing in 10.0% of rows (0.0% at launch)" in result.stdout


def test_too_few_customers_is_said_aloud_and_is_no_drift(settings: Settings) -> None:
    columns = {name: values[:60] for name, values in population(5).items()}
    predict(
        settings, columns | {"revenue_30d": columns["revenue_30d"] * 100}, at=NOW - timedelta(1)
    )

    found = report(settings)

    assert found.verdict.status == "insufficient"
    assert found.verdict.exit_code == 0
    assert "NOT ENOUGH DATA" in found.verdict.headline
    assert (found.folder / "index.html").stat().st_size > 0


def test_a_customer_counts_once_with_the_newest_prediction(settings: Settings) -> None:
    old = population(6)
    predict(settings, old | {"revenue_30d": old["revenue_30d"] * 100}, at=NOW - timedelta(days=20))
    predict(settings, population(7), at=NOW - timedelta(days=2))

    found = report(settings)

    assert found.document["window"]["rows"] == 2 * ROWS
    assert found.document["window"]["customers"] == ROWS
    assert found.verdict.status == "ok"


def test_a_fault_of_yesterday_is_a_warning_before_the_long_window_shows_it(
    settings: Settings,
) -> None:
    fresh = {name: values[:300] for name, values in population(8).items()}
    predict(settings, population(9, 20_000), at=NOW - timedelta(days=40), prefix="old")
    predict(settings, fresh | {"opens_7d": fresh["opens_7d"] + 1}, at=NOW - timedelta(hours=5))

    found = report(settings)

    assert [w["status"] for w in found.document["nested"]] == ["drift", "drift", "drift"]
    assert (found.document["window"]["status"], found.verdict.status) == ("ok", "warn")
    assert found.document["causes"][0].startswith("New in the last 1 day")
    assert found.verdict.exit_code == 0


def test_another_versions_score_is_not_compared_but_its_features_are(settings: Settings) -> None:
    columns = population(10)
    predict(settings, columns | {"score": columns["score"] * 3}, at=NOW - timedelta(3), version="9")
    predict(settings, population(11, 500), at=NOW - timedelta(hours=2), prefix="d")

    found = report(settings)

    assert found.document["score"]["rows"] == 500
    assert found.document["score"]["status"] == "ok"
    assert found.document["features"][0]["rows"] == ROWS + 500
    assert any("other model versions (9)" in remark for remark in found.document["remarks"])


def test_a_feature_an_older_version_does_not_have_is_not_missing(settings: Settings) -> None:
    predict(
        settings,
        population(12),
        at=NOW - timedelta(days=3),
        version="9",
        prefix="o",
        without=("opens_7d", "country"),
    )
    predict(settings, population(13), at=NOW - timedelta(hours=2))

    found = report(settings)

    assert found.verdict.status == "ok"
    rows = {f["name"]: f["rows"] for f in found.document["features"]}
    assert rows["opens_7d"] == rows["country"] == ROWS
    assert rows["revenue_30d"] == 2 * ROWS


def test_customers_answered_without_features_are_counted_apart(settings: Settings) -> None:
    known = np.arange(ROWS) >= 50
    predict(settings, population(14), at=NOW - timedelta(hours=1), known=known)

    found = report(settings)

    assert found.document["window"]["customers"] == ROWS - 50
    assert any(remark.startswith("50 more customers") for remark in found.document["remarks"])


def test_an_all_missing_feature_is_drift_and_does_not_cost_the_evidently_report(
    settings: Settings,
) -> None:
    columns = population(15)
    predict(settings, columns | {"opens_7d": np.full(ROWS, np.nan)}, at=NOW - timedelta(hours=1))

    found = report(settings)

    assert found.verdict.exit_code == 1
    assert found.document["features"][0]["name"] == "opens_7d"
    assert found.document["not_drawn"] == {"opens_7d": "no finite value in this window"}
    assert (found.folder / "evidently.html").stat().st_size > 100_000


Arrange = Callable[[Settings, Path], Settings]


def no_model(_: Settings, folder: Path) -> Settings:
    uri = embedded(folder)
    mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri).create_experiment("foresend")
    return Settings(home=folder)


def no_launch(_: Settings, folder: Path) -> Settings:
    register(embedded(folder), folder, launch=False)
    return Settings(home=folder)


def stopped(settings: Settings, _: Path) -> Settings:
    return settings.model_copy(update={"mlflow_uri": "http://127.0.0.1:9"})


def nothing_trained(_: Settings, folder: Path) -> Settings:
    return Settings(home=folder)


def nothing_predicted(settings: Settings, _: Path) -> Settings:
    return settings


def predicted_elsewhere(settings: Settings, _: Path) -> Settings:
    predict(settings, population(16, 10), at=NOW - timedelta(days=200))
    return settings


def damaged_log(settings: Settings, _: Path) -> Settings:
    day = settings.predictions_path / f"date={NOW:%Y-%m-%d}"
    day.mkdir(parents=True)
    (day / "part-0.parquet").write_bytes(b"not parquet at all")
    return settings


@pytest.mark.parametrize(
    ("arrange", "error", "says"),
    [
        (no_model, NoChampion, "has no champion"),
        (no_launch, NoLaunchProfile, "Train and promote"),
        (stopped, StoreUnavailable, "foresend up"),
        (nothing_trained, StoreUnavailable, "nothing was trained here"),
        (nothing_predicted, NoPredictions, "none at all"),
        (predicted_elsewhere, NoPredictions, "The log holds 10 outside it, from 2025-08-13"),
        (damaged_log, UnusableInput, "cannot be read"),
    ],
)
def test_what_is_missing_is_said_with_its_cure(
    settings: Settings, tmp_path: Path, arrange: Arrange, error: type[ForesendError], says: str
) -> None:
    arranged = arrange(settings, tmp_path / "other")

    with pytest.raises(error, match=says) as caught:
        report(arranged)

    assert caught.value.exit_code == 2
    assert not list(tmp_path.glob("reports/**/*"))


def test_an_undeclared_target_is_refused_before_anything_is_read(settings: Settings) -> None:
    with pytest.raises(ForesendError, match="No target is called 'purchase_3d'"):
        report_drift(
            settings, "purchase_3d", days=90, as_of=NOW, clock=lambda: NOW, say=lambda _: None
        )


@pytest.mark.parametrize("words", [("--window", "0"), ("--as-of", "yesterday")])
def test_an_option_that_cannot_be_used_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str]
) -> None:
    result = run(settings, monkeypatch, *words)

    assert isinstance(result.exception, ForesendError)
    assert words[0] in str(result.exception)


def test_two_reports_in_one_second_do_not_overwrite_each_other(settings: Settings) -> None:
    predict(settings, population(2), at=NOW - timedelta(hours=1))

    first, second = report(settings, days=7), report(settings, days=7)

    assert first.folder != second.folder
    assert (first.folder.parent / "latest").read_text().strip() == second.folder.name


def test_the_champion_of_a_server_is_read_and_needs_the_server(
    tmp_path: Path, mlflow_server: str, mlflow_home: Path
) -> None:
    target = "churn_90d"
    register(mlflow_server, tmp_path, target=target)
    served = Settings(home=tmp_path, mlflow_uri=mlflow_server)
    stopped = Settings(home=tmp_path, mlflow_uri=f"sqlite:///{mlflow_home / 'mlflow.db'}")

    assert read_champion(served, target).profile.customers == ROWS
    with pytest.raises(StoreUnavailable, match="foresend up"):
        read_champion(stopped, target)
