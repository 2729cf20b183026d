"""From a drifted delivery to the queue in Redis, by the commands a person types."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from feature_repo.event import Event
from feature_repo.ingest import parse
from feature_repo.ingest.drift.quarantine import Quarantine
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.settings import Settings
from feature_repo.stream.envelope import unpack
from feature_repo.stream.port import ARCHIVE
from feature_repo.stream.queue import open_queue
from infra.commands import quarantine_accept, quarantine_replay, quarantine_suggest

pytestmark = pytest.mark.integration

START = datetime(2024, 6, 1, 12, tzinfo=UTC)


def _payload(n: int, time_name: str) -> dict[str, Any]:
    return {
        "email": f"customer{n % 30}@example.com",
        time_name: int(START.timestamp()) + n,
        "sg_event_id": f"event-{n:06d}",
        "event": "click",
        "url": "https://shop.example/",
    }


def _drift(settings: Settings) -> None:
    settings.raw_path.mkdir(parents=True)
    store, quarantine = RawStore(settings.raw_path), Quarantine(settings)
    for first, name in ((0, "timestamp"), (200, "event_timestamp")):
        body = json.dumps([_payload(n, name) for n in range(first, first + 200)]).encode()
        record = RawRecord(provider="sendgrid", received_time=START, headers=(), body=body)
        outcomes = parse(
            "sendgrid",
            body,
            {},
            IngestSettings(),
            received_time=START,
            raw_ref=store.append(record),
            verified=True,
        )
        quarantine.add([one for one in outcomes if isinstance(one, Rejected)])
    store.close()
    quarantine.close()


def _run(*words: str) -> dict[str, Any]:
    app = typer.Typer()
    app.command("suggest")(quarantine_suggest.command)
    app.command("accept")(quarantine_accept.command)
    app.command("replay")(quarantine_replay.command)
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return content


def _in_queue(settings: Settings) -> list[Event]:
    queue = open_queue(settings)
    consumer = queue.consumer(ARCHIVE, "test")
    events = [event for d in consumer.take(100, 0.2) for event in unpack(d.body)]
    consumer.close()
    queue.close()
    return events


def test_what_was_in_quarantine_is_in_the_queue_once(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESEND_HOME", str(tmp_path))
    monkeypatch.setenv("FORESEND_REDIS_URL", redis_url)
    settings = Settings()
    _drift(settings)

    _run("accept", _run("suggest", "sendgrid")["file"], "--by", "Ann")
    first, second = _run("replay"), _run("replay")

    assert (first["published"], first["left"]) == (200, 0)
    assert (second["tried"], second["published"]) == (0, 0)
    events = _in_queue(settings)
    assert len(events) == 200
    assert {e.event_id for e in events} == {f"sendgrid:event-{n:06d}" for n in range(200, 400)}
    assert all(e.received_time > START and e.event_time.year == 2024 for e in events)
