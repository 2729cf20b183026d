"""A user's own events, in the canonical form, and a target of their own; no stack runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.e2e

FORESEND = Path(sys.executable).parent / "foresend"
START = datetime(2025, 1, 6, 9, tzinfo=UTC)
WEEKS = 40
CUSTOMERS = 300
LATE = timedelta(hours=48)


def write_programme(path: Path) -> int:
    """A weekly newsletter: some customers like it and click, a fifth of the clicks arrive late.

    Returns the number of events.
    """
    random = np.random.default_rng(7)
    liking = random.beta(0.6, 2.5, CUSTOMERS)
    lines: list[dict[str, Any]] = []

    def add(kind: str, customer: int, message: str, at: datetime, received: datetime) -> None:
        lines.append(
            {
                "event_id": f"{kind}-{message}",
                "type": kind,
                "customer_id": f"c{customer}",
                "message_id": message,
                "event_time": at.isoformat(),
                "received_time": received.isoformat(),
                "sending_domain": "news.example.com",
                "mailbox_provider": "google" if customer % 3 else "microsoft",
            }
        )

    for week in range(WEEKS):
        for customer in range(CUSTOMERS):
            message, at = f"m{week}-{customer}", START + timedelta(weeks=week, seconds=customer)
            add("sent", customer, message, at, at)
            if random.random() < liking[customer]:
                clicked = at + timedelta(hours=float(random.exponential(8)))
                late = LATE if random.random() < 0.2 else timedelta(seconds=20)
                add("clicked", customer, message, clicked, clicked + late)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return len(lines)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "foresend.yaml").write_text(
        "targets: {redeem_42d: {event: clicked, horizon_days: 42, spine: sent}}\n"
    )
    return folder


def foresend(home: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FORESEND_")}
    ours = {"FORESEND_HOME": str(home / "data"), "FORESEND_CONFIG": str(home / "foresend.yaml")}
    done = subprocess.run(
        [FORESEND, *words], env={**clean, **ours}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def last_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def trained(home: Path) -> dict[str, Any]:
    events = write_programme(home / "events.jsonl")
    imported = last_line(foresend(home, "import", str(home / "events.jsonl"), "--json"))
    assert imported["events"] == events
    again = last_line(foresend(home, "import", str(home / "events.jsonl"), "--json"))
    assert (again["events"], again["known"]) == (0, events)
    foresend(home, "features", "build")
    return last_line(foresend(home, "train", "redeem_42d", "--json"))


def test_the_result_has_every_promised_field(trained: dict[str, Any]) -> None:
    promised = {
        *("target", "version", "run_id", "rows", "positives", "auc", "baseline_auc"),
        *("average_precision", "log_loss", "brier", "calibration_slope", "top_decile_lift"),
        "chosen",
    }

    assert promised <= set(trained)
    assert trained["target"] == "redeem_42d"


def test_a_model_of_clicks_finds_who_likes_the_newsletter(trained: dict[str, Any]) -> None:
    assert trained["auc"] > 0.7
    assert trained["auc"] > trained["baseline_auc"]


def test_the_same_input_and_seed_give_the_same_metrics(home: Path, trained: dict[str, Any]) -> None:
    again = last_line(foresend(home, "train", "redeem_42d", "--json"))

    # What the gates ask a person about depends on whether there is a champion yet.
    changing = {"run_id", "version", "aliases", "gate_asks", "seconds"}
    metrics = {name: value for name, value in trained.items() if name not in changing}
    assert {name: again[name] for name in metrics} == metrics
    assert int(again["version"]) == int(trained["version"]) + 1


def test_a_default_target_is_gone_when_the_config_replaces_them(home: Path) -> None:
    done = foresend(home, "train", "purchase_30d", code=2)

    assert "redeem_42d" in done.stderr
