"""The audit of an installation: honest tables pass, tables that know too much are caught."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from click.testing import Result
from deltalake import DeltaTable
from typer.testing import CliRunner

from feature_repo.errors import ConfigError, NotReady
from feature_repo.event import Event
from feature_repo.settings import Settings
from infra.commands import audit
from tests.integration.test_training_run import an_installation, history

pytestmark = [
    pytest.mark.integration,
    # Feast and Ibis warn about each other's and their own changes; none is ours to mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return history(160)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, events: list[Event]) -> Settings:
    return an_installation(tmp_path_factory.mktemp("home"), events)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    config = tmp_path / "foresend.yaml"
    config.write_text("targets: {click_7d: {event: clicked, horizon_days: 7, spine: sent}}")
    monkeypatch.setenv("FORESEND_CONFIG", str(config))
    app = typer.Typer()
    app.command()(audit.command)

    def command(home: Path, *words: str) -> Result:
        monkeypatch.setenv("FORESEND_HOME", str(home))
        return CliRunner().invoke(app, ["click_7d", *words])

    return command


def said(result: Result) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return report


def found(report: dict[str, Any], severity: str) -> dict[str, set[str]]:
    """Kinds of findings of a severity, by feature."""
    kinds: dict[str, set[str]] = {}
    for finding in report["findings"]:
        if finding["severity"] == severity:
            kinds.setdefault(finding["feature"], set()).add(finding["kind"])
    return kinds


def test_honest_tables_pass_every_check_and_show_what_knowledge_time_prevents(
    installed: Settings, run: Any, tmp_path: Path
) -> None:
    page = tmp_path / "reports" / "audit.html"
    before = contents(installed)

    done = run(installed.home, "--json", "--out", str(page))

    assert done.exit_code == 0, done.output
    report = said(done)
    assert found(report, "critical") == found(report, "warning") == {}
    assert {check["verdict"] for check in report["checks"]} == {"clean"}
    checks = {check["name"]: check["numbers"] for check in report["checks"]}
    assert checks["truncated replay"]["truncated: values compared"] > 1000
    assert checks["truncated replay"]["poisoned: values compared"] > 1000
    assert checks["knowledge time"]["rows bounded by the log"] == report["rows"]
    # A third of the clicks reach us nine days late.
    told = found(report, "info")
    assert any(name.startswith("clicks") for name in told), told
    assert checks["by event time"]["fitted AUC by event time"] > 0.5
    assert page.read_text().startswith("<!doctype html>")
    # The real tables are as they were, placement's included, and nothing is left behind.
    assert contents(installed) == before
    assert list(installed.scratch_path.glob("audit-*")) == []


def contents(settings: Settings) -> dict[str, int]:
    """Files of the log, the feature tables and placement, and when each was written."""
    folders = (settings.log_path, settings.home / "features", settings.deliverability_path)
    return {
        str(path): path.stat().st_mtime_ns
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_tables_stamped_with_event_time_are_caught(
    installed: Settings, events: Sequence[Event], run: Any, tmp_path: Path
) -> None:
    early = [replace(event, received_time=event.event_time) for event in events]
    careless = an_installation(tmp_path / "careless", early)
    shutil.rmtree(careless.log_path)
    shutil.copytree(installed.log_path, careless.log_path)

    done = run(careless.home, "--json")

    assert done.exit_code == 1, done.output
    kinds = found(said(done), "critical")
    assert kinds["clicks_total"] >= {
        "counts what was not known",
        "changes with the future",
        "joined by event time",
    }
    assert kinds[None] == {"feature rows with unfounded times"}
    # What no late event touches is not accused.
    assert "sends_total" not in kinds


def test_a_value_from_the_future_is_caught_and_its_feature_named(
    installed: Settings, run: Any, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(installed.home, home)
    tampered = Settings(home=home)
    # The registry of the copy must name the copy's tables.
    (home / "state" / "registry.db").unlink(missing_ok=True)
    for file in DeltaTable(str(tampered.feature_path("activity"))).file_uris():
        with_the_next_total(Path(file))

    done = run(home)

    assert done.exit_code == 1, done.output
    assert "critical purchases_total: counts what was not known" in done.output
    assert "critical purchases_total: changes with the future" in done.output
    assert "click_7d: not fit to be registered" in done.output
    assert "clicks_total" not in done.output


def with_the_next_total(file: Path) -> None:
    """Every row gets the lifetime purchases of the customer's next row."""
    rows = pq.read_table(file)
    order = rows.to_pandas().sort_values(["customer_id", "event_timestamp"])
    ahead = order.groupby("customer_id")["purchases_total"].shift(-1)
    values = ahead.fillna(order["purchases_total"]).sort_index()
    place = rows.column_names.index("purchases_total")
    rows = rows.set_column(place, "purchases_total", pa.array(values, pa.float64()))
    pq.write_table(rows, file, compression="zstd", coerce_timestamps="us")


def test_what_cannot_be_audited_is_a_sentence(
    installed: Settings, run: Any, tmp_path: Path
) -> None:
    empty = run(tmp_path / "empty")
    when = run(installed.home, "--as-of", "yesterday")

    # The command line turns both into exit code 2.
    assert isinstance(empty.exception, NotReady)
    assert isinstance(when.exception, ConfigError)
    assert NotReady.exit_code == ConfigError.exit_code == 2
