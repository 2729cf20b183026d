"""`foresend machines sweep` over a real queue: corrections are published, and once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from feature_repo.event import Machine
from feature_repo.history import duck
from feature_repo.history.log import EventLog
from feature_repo.history.schema import EVENTS
from feature_repo.settings import load_settings
from feature_repo.stream.envelope import unpack
from feature_repo.stream.port import ARCHIVE
from feature_repo.stream.queue import open_queue
from infra.commands import machines_sweep

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

AT = datetime(2026, 3, 4, 10, tzinfo=UTC)


def test_the_command_publishes_what_the_log_calls_for_and_no_more(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESEND_HOME", str(tmp_path))
    monkeypatch.setenv("FORESEND_REDIS_URL", redis_url)
    settings = load_settings()
    rows = [_row("d", "delivered", 0), _row("k", "clicked", 2)]
    with duck.connect(settings) as con:
        events = con.from_arrow(pa.Table.from_pylist(rows, schema=EVENTS))
        EventLog(settings.log_path).append(con, events)
    app = typer.Typer()
    app.command()(machines_sweep.command)

    said = [
        json.loads(CliRunner().invoke(app, ["--json"]).stdout.strip().splitlines()[-1])
        for _ in range(2)
    ]

    assert [one["corrected"] for one in said] == [1, 0]
    queue = open_queue(settings)
    consumer = queue.consumer(ARCHIVE, "test")
    published = [event for taken in consumer.take(10, 1.0) for event in unpack(taken.body)]
    consumer.close()
    queue.close()
    assert [(event.event_id, event.machine) for event in published] == [("k", Machine.SCANNER)]


def _row(event_id: str, kind: str, after_s: float) -> dict[str, object]:
    at = AT + timedelta(seconds=after_s)
    good = {
        "event_id": event_id, "type": kind, "customer_id": "c1", "message_id": "m1",
        "event_time": at, "received_time": at, "op": "upsert", "provider": "test",
        "machine": "none", "backfilled": False, "url": "https://a.example/1",
    }  # fmt: skip
    return dict.fromkeys(EVENTS.names) | good
