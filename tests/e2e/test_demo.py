"""The README's first command as its user runs it: fresh folder, real purchases and processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.demo.folder import MARKER

pytestmark = pytest.mark.e2e

FORESEND = Path(sys.executable).parent / "foresend"


def _demo(home: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FORESEND_")}
    return subprocess.run(
        [FORESEND, "demo", "--once"],
        env={**clean, "FORESEND_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "home"
    done = _demo(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def facts(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "demo.json").read_text())
    return found


@pytest.fixture(scope="session")
def browser() -> str:
    """A Chromium; where there is none the test says so, and on CI that is a failure."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found is not None:
            return found
    message = "NO BROWSER: install Chromium to check the pages that people look at"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _rendered(browser: str, page: Path, profile: Path) -> str:
    """The page as the browser ends up showing it, every host being unreachable."""
    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"),
        *("--virtual-time-budget=20000", "--dump-dom"),
    ]
    done = subprocess.run(
        [browser, *flags, page.as_uri()], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_real_purchases_become_events(facts: dict[str, Any]) -> None:
    assert facts["events"] == 22_186
    assert facts["customers"] == 4_371


def test_online_and_offline_features_agree_for_every_customer(facts: dict[str, Any]) -> None:
    assert facts["online_offline_compared"] > facts["customers"] * 50
    assert facts["online_offline_mismatches"] == 0


def test_the_model_is_no_worse_than_recency_frequency_monetary(facts: dict[str, Any]) -> None:
    assert facts["target"] == "purchase_30d"
    assert facts["auc"] >= facts["baseline_auc"]
    assert 0.8 < facts["calibration_slope"] < 1.25


def test_every_customer_is_scored_over_http_by_the_promoted_version(facts: dict[str, Any]) -> None:
    assert facts["scored"] == facts["customers"]
    assert facts["degraded"] == 0
    assert facts["model_version"] == "1"
    assert 0 < facts["score_p50_ms"] <= facts["score_p99_ms"]


def test_every_answer_has_a_tier_of_the_approved_policy(facts: dict[str, Any]) -> None:
    assert sum(facts["tiers"].values()) == facts["scored"]
    assert "None" not in facts["tiers"]
    assert len(facts["tiers"]) >= 2


def test_a_segment_scored_as_a_job_gives_the_scores_of_the_api(facts: dict[str, Any]) -> None:
    assert facts["audience"]["scored"] == facts["customers"]
    assert facts["audience"]["differ"] == 0
    assert facts["audience"]["tiers"] == facts["tiers"]


def test_the_reasons_of_a_score_sum_to_it(facts: dict[str, Any]) -> None:
    reasons = facts["reasons"]["reasons"]
    points = sum(reason["points"] for reason in reasons["top"])

    assert len(reasons["top"]) == 3
    assert abs(reasons["base"] + points + reasons["other"] - facts["reasons"]["score"]) < 1e-9


def test_customers_whose_mail_goes_to_spam_are_marked_for_repair(facts: dict[str, Any]) -> None:
    simulated = facts["simulated"]

    assert 0.05 < simulated["repair"] / simulated["scored"] < 0.4


def test_the_drift_report_is_a_page(facts: dict[str, Any]) -> None:
    page = Path(facts["drift_report"])

    assert page.suffix == ".html"
    assert page.stat().st_size > 1_000


@pytest.mark.parametrize(
    ("page", "shown"),
    [("index.html", ["What moved", "customer_daily", "<svg"]), ("evidently.html", ["score"])],
)
def test_the_report_is_complete_in_a_browser_without_a_network(
    facts: dict[str, Any], page: str, shown: list[str], browser: str, tmp_path: Path
) -> None:
    document = _rendered(browser, Path(facts["drift_report"]).with_name(page), tmp_path)

    assert all(text in document for text in shown)


def test_nothing_is_left_running(home: Path) -> None:
    assert not (home / "state" / "stack.json").exists()


def test_the_demo_never_deletes_data_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "precious.parquet").write_text("mine")

    done = _demo(tmp_path)

    assert done.returncode == 2
    assert "FORESEND_HOME" in done.stderr
    assert (tmp_path / "precious.parquet").read_text() == "mine"
    assert not (tmp_path / MARKER).exists()
