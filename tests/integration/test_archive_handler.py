"""The archive group: the log holds events once, and Redis hears of every correction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from deltalake import DeltaTable
from filelock import FileLock

from feature_repo import online
from feature_repo.errors import StoreUnavailable
from feature_repo.event import Event, EventType, Op
from feature_repo.settings import Settings
from feature_repo.stream.archive_handler import ArchiveHandler
from feature_repo.stream.online_epoch import corrected_key

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 1, tzinfo=UTC)
FIRST = Event(
    event_id="e1", type=EventType.CLICKED, customer_id="c1", event_time=NOW, received_time=NOW
)
SECOND = replace(FIRST, event_id="e2")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, duckdb_threads=1)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with online.connect(redis_url) as client:
        yield client


def corrected(client: redis.Redis, settings: Settings) -> set[object]:
    return set(client.smembers(corrected_key(settings.project)))  # type: ignore[arg-type] # not async


def rows(settings: Settings) -> int:
    return sum(int(commit["rows"]) for commit in DeltaTable(str(settings.log_path)).history())


def test_corrections_and_withdrawals_are_told_and_new_events_are_not(
    settings: Settings, client: redis.Redis
) -> None:
    handler = ArchiveHandler(settings, client, lambda: NOW)
    handler.handle([FIRST, SECOND, replace(FIRST, event_id="e3")])
    assert corrected(client, settings) == set()

    handler.handle([replace(FIRST, url="https://shop.example/"), replace(SECOND, op=Op.RETRACT)])

    assert corrected(client, settings) == {b"e1", b"e2"}
    assert rows(settings) == 5


def test_what_comes_again_changes_nothing(settings: Settings, client: redis.Redis) -> None:
    handler = ArchiveHandler(settings, client, lambda: NOW)
    batch = [FIRST, replace(FIRST, url="x"), SECOND]
    handler.handle(batch)
    client.delete(corrected_key(settings.project))

    handler.handle(batch)
    ArchiveHandler(settings, client, lambda: NOW).handle(batch)

    assert rows(settings) == 3
    assert corrected(client, settings) == set(), "what was handed over is the recompute role's"


def test_a_correction_reaches_redis_even_when_it_was_away(
    settings: Settings, client: redis.Redis
) -> None:
    ArchiveHandler(settings, client, lambda: NOW).handle([FIRST, SECOND])
    with (
        online.connect("redis://127.0.0.1:1/0") as nowhere,
        pytest.raises(StoreUnavailable, match="Redis does not answer"),
    ):
        ArchiveHandler(settings, nowhere, lambda: NOW).handle([replace(FIRST, url="x")])

    ArchiveHandler(settings, client, lambda: NOW).handle([SECOND])

    assert corrected(client, settings) == {b"e1"}


def test_a_log_that_another_process_keeps_is_waited_for_and_then_told(
    settings: Settings, client: redis.Redis
) -> None:
    handler = ArchiveHandler(settings, client, lambda: NOW, lock_wait_s=0.05)

    with FileLock(f"{settings.log_path}.lock"), pytest.raises(StoreUnavailable):
        handler.handle([FIRST])

    handler.handle([FIRST])
    assert rows(settings) == 1
