"""What an event costs the archive and the online fold as the log and the history grow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

from feature_repo import online
from feature_repo.event import Event, EventType
from feature_repo.history.log_writer import LogWriter
from feature_repo.settings import Settings
from feature_repo.stream.online_handler import OnlineHandler
from infra.bench.build_growth import write_log
from infra.bench.redis_server import redis_server

LOG_EVENTS: Final = (10_000, 100_000, 1_000_000, 10_000_000)
HISTORY_EVENTS: Final = (10, 100, 1_000)
BATCH: Final = 2_000
BATCHES: Final = 5


def run(workdir: Path, sizes: tuple[int, ...] = LOG_EVENTS) -> dict[str, Any]:
    """Microseconds per event with the largest log against the smallest, and per history."""
    archive = {}
    for size in sizes:
        home = workdir / f"log-{size}"
        rmtree(home, ignore_errors=True)
        write_log(home, size)
        archive[size] = _archive_us(Settings(home=home))
        rmtree(home)
    fold = {length: _fold_us(workdir / f"fold-{length}", length) for length in HISTORY_EVENTS}
    ours, baseline = archive[sizes[-1]], archive[sizes[0]]
    return {
        "ours": ours,
        "baseline": baseline,
        "ratio": ours / baseline,
        "unit": "us/event",
        "archive_us": {f"{size:.0e}": round(cost) for size, cost in archive.items()},
        "online_us_by_history": {length: round(cost) for length, cost in fold.items()},
    }


def _archive_us(settings: Settings) -> float:
    """Quickest of a few batches, after one that brings the writer up to the log."""
    writer = LogWriter(settings)
    taken = []
    for number, batch in enumerate(_batches("log", customers=BATCH, batches=BATCHES + 1)):
        started = time.perf_counter()
        writer.append(batch)
        if number:
            taken.append(time.perf_counter() - started)
    return min(taken) / BATCH * 1e6


def _fold_us(workdir: Path, history: int) -> float:
    """Cost per event for customers that have had `history` events."""
    customers = 200
    workdir.mkdir(parents=True, exist_ok=True)
    with redis_server(workdir) as url, online.connect(url) as client:
        handler = OnlineHandler(
            Settings(home=workdir / "home", redis_url=url), client, lambda: datetime.now(UTC)
        )
        for batch in _batches("past", customers, batches=history * customers // BATCH or 1):
            handler.handle(batch)
        taken = []
        for batch in _batches("new", customers, batches=BATCHES, days=400):
            started = time.perf_counter()
            handler.handle(batch)
            taken.append(time.perf_counter() - started)
    return min(taken) / BATCH * 1e6


def _batches(name: str, customers: int, batches: int, days: int = 0) -> Iterator[list[Event]]:
    start = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=days)
    kinds = (EventType.SENT, EventType.DELIVERED, EventType.OPENED, EventType.CLICKED)
    for batch in range(batches):
        yield [
            Event(
                event_id=f"{name}-{batch}-{number}",
                type=kinds[number % 4],
                customer_id=f"{name if name == 'log' else 'c'}-{number % customers}",
                event_time=start + timedelta(minutes=batch, milliseconds=number),
                received_time=start + timedelta(minutes=batch + 1),
            )
            for number in range(BATCH)
        ]
