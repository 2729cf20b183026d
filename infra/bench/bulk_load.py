"""Bulk load into Redis: `features load` against Feast's own materialisation of the same tables."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import redis

from feature_repo import online
from feature_repo.load import load
from feature_repo.online_codec import all_columns
from feature_repo.settings import Settings
from infra.bench.feature_data import write_feature_tables
from infra.bench.redis_server import redis_server
from infra.bench.stock_feast import stock_store

CUSTOMERS: Final = 50_000
REPEATS: Final = 3
UNTIL: Final = datetime(2026, 5, 1, tzinfo=UTC)
_SAMPLE: Final = 500


def run(workdir: Path, customers: int = CUSTOMERS) -> dict[str, Any]:
    """Rows per second of both, over the three views of `customers`, one row each."""
    with redis_server(workdir) as url:
        settings = Settings(home=workdir / "home", redis_url=url, project="bench")
        write_feature_tables(settings, customers=customers, versions=1, until=UNTIL)
        stock = stock_store(settings, url)
        with online.connect(url) as client:
            theirs, own = [], []
            for _ in range(REPEATS):
                client.flushall()
                started = time.perf_counter()
                stock.materialize(UNTIL - timedelta(days=500), UNTIL)
                theirs.append(time.perf_counter() - started)
                by_feast = _sample(client, settings, customers)
                client.flushall()
                done = load(settings, client, as_of=UNTIL, full=True)
                own.append(done.seconds)
            same = _sample(client, settings, customers) == by_feast
    # The quickest of each, taken in turn: a neighbour's load only ever makes a run slower.
    ours, baseline = done.rows / min(own), done.rows / min(theirs)
    return {
        "ours": ours,
        "baseline": baseline,
        "ratio": ours / baseline,
        "unit": "rows/s",
        "rows": done.rows,
        "same_values": same,
    }


def _sample(client: redis.Redis, settings: Settings, customers: int) -> list[list[bytes]]:
    """Values of some customers; one that is not there is the same as an empty one."""
    step = max(customers // _SAMPLE, 1)
    ids = [f"customer-{i:07d}" for i in range(0, customers, step)]
    reader = online.OnlineReader(client, all_columns(settings.project))
    return [[value or b"" for value in reply] for reply in reader.raw(ids)]
