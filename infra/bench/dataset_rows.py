"""Rows per second of the dataset builder, and its peak memory, as decisions grow tenfold.

Each run is a process of its own over the same feature tables: ours makes a training dataset, with
the features of the send; the baseline is the join alone, by Feast's stock DuckDB store.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import psutil

from feature_repo import contract
from feature_repo.history.log import Snapshot
from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.targets import target_from
from infra.bench.feature_data import customer_id, write_feature_tables
from infra.bench.memory import peak_mb
from infra.bench.stock_feast import stock_store
from training.reading import to_us
from training.retrieval import Decided, stored_columns, with_features
from training.spine import SpineCounts

SIZES: Final = (100_000, 1_000_000)
LARGEST: Final = 10_000_000
SIZE_VARIABLE: Final = "FORESEND_BENCH_DATASET_ROWS"
"""Sizes instead of these, comma-separated; Feast is measured at the second largest or below."""

ROWS_PER_CUSTOMER: Final = 10
"""Decisions, and rows in each feature table."""

_UNTIL: Final = datetime(2026, 6, 1, tzinfo=UTC)
_AT_ONCE: Final = 20_000
_STOCK_MOST: Final = 1_000_000
_REPEATS: Final = 2
_DISK: Final = 30e9
_MEMORY: Final = 14e9


def run(workdir: Path) -> dict[str, Any]:
    """Rows per second of both at the largest size that both do; ours at every size."""
    result: dict[str, Any] = {}
    for rows in _sizes(workdir):
        folder = workdir / str(rows)
        write_tables(folder, rows)
        both = rows <= _STOCK_MOST
        ours = _best(folder, rows, "ours", _REPEATS if both else 1)
        power = f"1e{round(np.log10(rows))}"
        result |= {
            f"rows_per_s_{power}": round(rows / ours["seconds"]),
            f"peak_mb_{power}": ours["peak_mb"],
        }
        if both:
            stock = _best(folder, rows, "stock", _REPEATS)
            result |= {
                "ours": rows / ours["seconds"],
                "baseline": rows / stock["seconds"],
                "ratio": stock["seconds"] / ours["seconds"],
                "unit": "rows/s",
                "baseline_peak_mb": stock["peak_mb"],
            }
        shutil.rmtree(folder)
    return result


def _sizes(workdir: Path) -> list[int]:
    asked = os.environ.get(SIZE_VARIABLE)
    if asked:
        return [int(float(size)) for size in asked.split(",")]
    roomy = shutil.disk_usage(workdir).free > _DISK
    if roomy and psutil.virtual_memory().available > _MEMORY:
        return [*SIZES, LARGEST]
    return [*SIZES]


def write_tables(folder: Path, rows: int) -> None:
    """Feature tables with as many rows as there are decisions, some customers at a time."""
    customers = rows // ROWS_PER_CUSTOMER
    for first in range(0, customers, _AT_ONCE):
        write_feature_tables(
            Settings(home=folder),
            customers=min(_AT_ONCE, customers - first),
            versions=ROWS_PER_CUSTOMER,
            until=_UNTIL,
            seed=first,
            first=first,
        )


def decisions(rows: int) -> Decided:
    """Decisions over the last year, one in twenty of a customer nobody knows."""
    rng = np.random.default_rng(0)
    customers = rows // ROWS_PER_CUSTOMER
    names = np.array([*map(customer_id, range(customers * 21 // 20))], dtype=object)
    ages = np.sort(rng.integers(0, 365 * 86_400, rows))[::-1]
    return Decided(
        target=target_from("bench", {"event": "clicked", "horizon_days": 7, "spine": "sent"}),
        as_of=_UNTIL,
        grace=timedelta(0),
        counts=SpineCounts(decisions=rows, immature=0),
        snapshot=Snapshot(None, (), -1),
        label=np.zeros(rows, dtype=np.int8),
        at_us=to_us(_UNTIL) - ages * 1_000_000,
        customer=names[rng.integers(0, len(names), rows)],
        weight=np.ones(rows),
        unseen=0,
    )


def measure(folder: Path, rows: int, which: str) -> dict[str, float]:
    """Run one of them in this process."""
    settings = Settings(home=folder)
    decided = decisions(rows)
    if which == "ours":
        store = open_store(settings)
        started = time.perf_counter()
        found = len(with_features(store, decided))
    else:
        store = stock_store(settings, "redis://127.0.0.1:1")
        at = pd.to_datetime(decided.at_us, unit="us", utc=True).as_unit("us")
        frame = {contract.ENTITY: decided.customer, contract.EVENT_TIMESTAMP: at}
        refs = [f"{v}:{name}" for v, names in stored_columns().items() for name in names]
        started = time.perf_counter()
        job = store.get_historical_features(
            pd.DataFrame(frame), refs, filter_by_created_timestamp=True
        )
        found = job.to_arrow().num_rows
    seconds = time.perf_counter() - started
    if found != rows:
        message = f"{rows} decisions came back as {found} rows"
        raise ValueError(message)
    return {"seconds": seconds, "peak_mb": round(peak_mb())}


def _best(folder: Path, rows: int, which: str, repeats: int) -> dict[str, float]:
    """The quickest run: what else a machine does only ever adds."""
    runs = [_measure_apart(folder, rows, which) for _ in range(repeats)]
    return min(runs, key=lambda run: run["seconds"])


def _measure_apart(folder: Path, rows: int, which: str) -> dict[str, float]:
    code = (
        "import json, pathlib, sys; from infra.bench import dataset_rows; "
        "print(json.dumps(dataset_rows.measure("
        "pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(folder), str(rows), which]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result
