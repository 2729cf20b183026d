"""Bulk read of 1,000 customers: our reader against Feast's get_online_features."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from feature_repo import contract, online
from feature_repo.load import load
from feature_repo.online_codec import all_columns
from feature_repo.settings import Settings
from infra.bench.feature_data import write_feature_tables
from infra.bench.redis_server import redis_server
from infra.bench.stock_feast import stock_store

CUSTOMERS: Final = 20_000
READ: Final = 1_000
REPEATS: Final = 15
UNTIL: Final = datetime(2026, 5, 1, tzinfo=UTC)


def run(workdir: Path, customers: int = CUSTOMERS) -> dict[str, Any]:
    """Median milliseconds of both for every stored feature, taken in turns."""
    with redis_server(workdir) as url:
        settings = Settings(home=workdir / "home", redis_url=url, project="bench")
        write_feature_tables(settings, customers=customers, versions=1, until=UNTIL)
        stock = stock_store(settings, url)
        with online.connect(url) as client:
            load(settings, client, as_of=UNTIL, full=True)
            reader = online.OnlineReader(client, all_columns(settings.project))
            ids = [f"customer-{i:07d}" for i in range(0, customers, customers // READ)][:READ]
            refs = [f"{view}:{name}" for view, names in contract.VIEWS.items() for name in names]
            asked = [{contract.ENTITY: customer} for customer in ids]

            rows = reader.read(ids)
            answer = stock.get_online_features(refs, asked).to_df()
            same = all(
                np.array_equal(column, answer[name].to_numpy(dtype=np.float64), equal_nan=True)
                for name, column in rows.columns.items()
                if name not in contract.TEXT_FEATURES
            )
            ours, baseline = _medians_ms(
                lambda: reader.read(ids), lambda: stock.get_online_features(refs, asked)
            )
    return {
        "ours": ours,
        "baseline": baseline,
        "ratio": baseline / ours,
        "unit": "ms per 1,000 customers",
        "features": len(refs),
        "same_values": same,
    }


def _medians_ms(*calls: Callable[[], object]) -> list[float]:
    """Median of each call; taken in turns, so that a busy machine slows all of them."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(REPEATS):
        for call, times in zip(calls, taken, strict=True):
            started = time.perf_counter()
            call()
            times.append((time.perf_counter() - started) * 1e3)
    return [statistics.median(times) for times in taken]
