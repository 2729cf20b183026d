"""The quarantine on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from feature_repo.ingest import parse
from feature_repo.ingest.drift.ledger import Ledger
from feature_repo.ingest.drift.quarantine import Quarantine
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.settings import Settings
from infra.commands import (
    drift_observations,
    quarantine_accept,
    quarantine_list,
    quarantine_replay,
    quarantine_show,
    quarantine_suggest,
)

START = datetime(2024, 6, 1, 12, tzinfo=UTC)

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    home = tmp_path / "home"
    monkeypatch.setenv("FORESEND_HOME", str(home))
    return Settings(home=home)


@pytest.fixture
def run() -> Run:
    """Run a command with --json; its last line."""
    app = typer.Typer()
    for name, module in (
        ("list", quarantine_list),
        ("show", quarantine_show),
        ("suggest", quarantine_suggest),
        ("accept", quarantine_accept),
        ("replay", quarantine_replay),
        ("observations", drift_observations),
    ):
        app.command(name)(module.command)

    def run(*words: str) -> dict[str, Any]:
        result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        content: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
        return content

    return run


def payload(n: int, time_name: str) -> dict[str, Any]:
    return {
        "email": f"customer{n % 30}@example.com",
        time_name: int(START.timestamp()) + n,
        "sg_event_id": f"event-{n:06d}",
        "event": "open",
    }


@pytest.fixture
def drifted(settings: Settings) -> Settings:
    """An installation in which SendGrid renamed a field."""
    settings.raw_path.mkdir(parents=True)
    store, quarantine, ledger = RawStore(settings.raw_path), Quarantine(settings), Ledger(settings)
    usual = [payload(n, "timestamp") for n in range(200)]
    changed = [payload(n, "event_timestamp") for n in range(200, 220)]
    for payloads in (usual, changed):
        body = json.dumps(payloads).encode()
        record = RawRecord(provider="sendgrid", received_time=START, headers=(), body=body)
        outcomes = parse(
            "sendgrid",
            body,
            {},
            IngestSettings(),
            received_time=START,
            raw_ref=store.append(record),
            verified=True,
            observe=lambda p, w, item, ok: ledger.observe(p, w, item, ok, START),
        )
        ledger.flush()
        quarantine.add([one for one in outcomes if isinstance(one, Rejected)])
    store.close()
    ledger.close()
    quarantine.close()
    return settings


def test_an_empty_quarantine_says_so(run: Run, settings: Settings) -> None:
    assert run("list") == {"events": 0, "groups": []}
    assert run("observations") == {"observations": []}


def test_groups_are_listed_and_shown_without_naming_anybody(run: Run, drifted: Settings) -> None:
    listed = run("list")
    (group,) = listed["groups"]
    assert (listed["events"], group["reason"], group["path"]) == (
        20,
        "missing_event_time",
        "timestamp",
    )

    shown = run("show", group["id"])
    revealed = run("show", group["example"], "--reveal")

    assert shown["payload"]["email"] == "(address)"
    assert shown["payload"]["event"] == "open"
    assert shown["raw_ref"] is not None
    assert revealed["payload"]["email"].endswith("@example.com")


def test_from_suggestion_to_a_dry_replay(run: Run, drifted: Settings) -> None:
    suggested = run("suggest", "sendgrid")
    assert suggested["trial"] == {"tried": 20, "fitting": 20, "compared": 200, "changed": 0}

    accepted = run("accept", suggested["file"], "--by", "Ann")
    assert accepted["mapping_version"] == "sendgrid@2"

    replayed = run("replay", "--dry-run")
    assert (replayed["published"], replayed["left"]) == (20, 20)


def test_observations_tell_what_changed(run: Run, drifted: Settings) -> None:
    found = run("observations")["observations"]

    assert [(one["kind"], one["path"]) for one in found] == [("new_path", "event_timestamp")]


def test_what_is_not_there_is_a_sentence(run: Run, settings: Settings) -> None:
    with pytest.raises(Exception, match="no entry or group 'nothing' in quarantine"):
        run("show", "nothing")
