"""The demo's second half: a simulated e-mail programme, because no real one is public.

Its customers are called sim-..., their events go the way of real ones: history through an import,
the last hours as signed webhooks through the ingest service, the queue and the workers.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from feature_repo.errors import NotReady
from feature_repo.history.duck import connect
from feature_repo.history.log import EventLog
from feature_repo.settings import Settings
from feature_repo.stream.port import GROUPS
from feature_repo.stream.queue import open_queue
from infra.demo.command import foresend
from infra.demo.scoring import wait_for_model
from infra.stack.state import Stack

TARGET: Final = "click_7d"
CUSTOMERS: Final = 1_500
DAYS: Final = 200
LIVE_HOURS: Final = 24
ABSORB_TIMEOUT_S: Final = 120.0
COLLAPSED: Final = "microsoft"
COLLAPSE_DAYS: Final = 14
"""In the programme's last days this provider files its mail under spam."""

_SHOWN: Final = 200
_SECRETS: Final = {
    "mailgun": "FORESEND_INGEST_MAILGUN_SIGNING_KEY",
    "mautic": "FORESEND_INGEST_MAUTIC_SECRET",
    "segment": "FORESEND_INGEST_SEGMENT_SHARED_SECRET",
}

Step = Callable[[str], AbstractContextManager[None]]


def make_secrets(settings: Settings) -> dict[str, str]:
    """Secrets that the demo's sender signs with, written to a file for it.

    Returns the environment in which the ingest service knows them.
    """
    made = {service: secrets.token_urlsafe(24) for service in _SECRETS}
    path = secrets_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(made))
    return {_SECRETS[service]: secret for service, secret in made.items()}


def secrets_file(settings: Settings) -> Path:
    """Where they are; JSON, which is YAML too."""
    return settings.state_path / "demo-secrets.yaml"


def run_simulated(
    settings: Settings, stack: Stack, headers: dict[str, str], step: Step
) -> dict[str, Any]:
    """Import a history, train TARGET, stream the last hours, and score before and after."""
    now = datetime.now(UTC)
    until = now - timedelta(hours=LIVE_HOURS)
    first_day = (now - timedelta(days=DAYS)).date().isoformat()
    programme = (
        *("--customers", str(CUSTOMERS), "--days", str(DAYS + 1), "--start", first_day),
        *("--service", "mailgun", "--service", "mautic"),
        *("--collapse", f"{COLLAPSED}:{DAYS - COLLAPSE_DAYS}:{COLLAPSE_DAYS + 1}"),
    )
    facts = _learn(settings, programme, until, step)
    facts["version"] = facts.pop("training")["version"]
    with httpx.Client(base_url=stack.services["api"].url, headers=headers, timeout=30) as client:
        wait_for_model(client, TARGET, str(facts["version"]))
        # One moment for both, so that only what was streamed can change a score.
        send_at = (now + timedelta(minutes=10)).isoformat()
        before = _answers(client, _customers(settings), send_at)
        facts |= _stream(settings, stack, programme, until, now, step)
        after = _answers(client, list(before), send_at)
    facts["scored"] = len(after)
    facts["scores_changed"] = sum(
        after[customer]["score"] != answer["score"] for customer, answer in before.items()
    )
    placements = [answer["placement"] for answer in after.values()]
    facts["repair"] = sum(p is not None and p["action"] == "repair" for p in placements)
    return facts


def _learn(
    settings: Settings, programme: tuple[str, ...], until: datetime, step: Step
) -> dict[str, Any]:
    folder = settings.home.absolute() / "simulated"
    words = (*programme, "--end", until.isoformat(), "--out", str(folder))
    with step(f"foresend simulate (SIMULATED: {CUSTOMERS:,} customers, {DAYS} days)"):
        foresend("simulate", *words, "--form", "canonical")
    with step("foresend import simulated/events.parquet"):
        events = foresend("import", str(folder / "events.parquet"))["events"]
    with step("foresend deliverability import simulated/seed_list.csv"):
        seeds = str(folder / "seed_list.csv")
        foresend("deliverability", "import", seeds, "--form", "seed_list", "--known-at", "day+1d")
    with step("foresend features build, foresend features load"):
        foresend("features", "build")
        foresend("features", "load")
    with step(f"foresend train {TARGET}"):
        trained = foresend("train", TARGET)
        foresend("models", "promote", TARGET, str(trained["version"]))
        foresend("tiers", "approve", TARGET, "--by", "the demo")
    shown = ("auc", "baseline_auc", "calibration_slope", "chosen", "rows", "positives")
    return {"events": events, "training": trained, **{name: trained[name] for name in shown}}


def _stream(
    settings: Settings,
    stack: Stack,
    programme: tuple[str, ...],
    since: datetime,
    until: datetime,
    step: Step,
) -> dict[str, Any]:
    """Send what happened since as webhooks; seconds until log and Redis have all of it."""
    url = stack.services["ingest"].url
    words = (*programme, "--since", since.isoformat(), "--end", until.isoformat())
    to = ("--to", url, "--secrets", str(secrets_file(settings)))
    with step(f"foresend simulate --to {url} (SIMULATED: the last {LIVE_HOURS} hours)"):
        streamed = foresend("simulate", *words, *to)
        accepted = time.perf_counter()
        _wait_until_absorbed(settings)
        lag = time.perf_counter() - accepted
    return {
        "streamed": streamed["events"],
        "streamed_per_s": streamed["events_per_s"],
        "absorbed_after_s": round(lag, 1),
    }


def _wait_until_absorbed(settings: Settings) -> None:
    queue = open_queue(settings)
    try:
        deadline = time.monotonic() + ABSORB_TIMEOUT_S
        quiet = 0
        while quiet < 3:
            left = sum(queue.backlog(group).messages for group in GROUPS)
            quiet = 0 if left else quiet + 1
            if time.monotonic() > deadline:
                message = f"The workers left {left} messages; their logs are in {settings.home}."
                raise NotReady(message)
            time.sleep(0.2)
    finally:
        queue.close()


def _customers(settings: Settings) -> list[str]:
    with connect(settings) as con:
        rows = EventLog(settings.log_path).snapshot().rows(con)
        mine = rows.filter(rows.customer_id.startswith("sim-")).select("customer_id").distinct()
        ids: list[str] = (
            mine.order_by("customer_id").limit(_SHOWN).execute()["customer_id"].tolist()
        )
    return ids


def _answers(client: httpx.Client, customers: list[str], send_at: str) -> dict[str, dict[str, Any]]:
    body = {
        "send_at": send_at,
        "target": TARGET,
        "customers": [{"customer_id": c} for c in customers],
    }
    answer = client.post("/v1/score", json=body)
    answer.raise_for_status()
    return {row["customer_id"]: row for row in answer.json()["scores"]}
