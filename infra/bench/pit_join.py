"""Point-in-time join: our offline store against Feast's stock DuckDB store, cutoff on.

Each runs in a process of its own, over the same Parquet file and entity rows, through
`get_historical_features`; the results are compared cell by cell.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

from infra.bench.memory import peak_mb

FEATURES: Final = tuple(f"feature_{i}" for i in range(40))
ENTITY_ROWS: Final = 100_000
FEATURE_ROWS: Final = 10_000_000
ROWS_PER_KEY: Final = 100
REPEATS: Final = 3
SIZE_VARIABLE: Final = "FORESEND_BENCH_PIT_ROWS"
"""Feature rows instead of ten million, for small machines; entity rows shrink alike."""

_STORES: Final = ("ours", "stock")
_START: Final = "2024-01-01 00:00:00+00"
_YEAR_S: Final = 31_536_000


def run(workdir: Path, feature_rows: int | None = None) -> dict[str, Any]:
    """Seconds of both, whether every cell is equal, and our peak memory."""
    rows = feature_rows or int(os.environ.get(SIZE_VARIABLE, FEATURE_ROWS))
    write_features(workdir, rows)
    write_entities(workdir, rows)
    runs = [(which, _measure_apart(workdir, which)) for which in _STORES * REPEATS]
    best = {figure: _of_each(runs, figure, min) for figure in ("seconds", "cpu_s")}
    peaks = _of_each(runs, "peak_mb", max)
    ours, stock = best["seconds"]
    own_cpu, stock_cpu = best["cpu_s"]
    return {
        "ours": ours,
        "baseline": stock,
        "ratio": stock / ours,
        "unit": "s",
        "feature_rows": rows,
        "different_cells": _different_cells(workdir),
        "cpu_ratio": round(stock_cpu / own_cpu, 2),
        "peak_mb": peaks[0],
        "baseline_peak_mb": peaks[1],
    }


def _of_each(
    runs: Sequence[tuple[str, dict[str, float]]], figure: str, choose: Callable[..., float]
) -> list[float]:
    """The best (or worst) of a figure by store: what else a machine does only ever adds."""
    return [choose(run[figure] for name, run in runs if name == which) for which in _STORES]


def write_features(workdir: Path, rows: int) -> None:
    """Features with nulls, and rows that became known up to two days late. Once per folder."""
    path = workdir / "features.parquet"
    if path.exists():
        return
    values = ", ".join(f"{_value_sql(n)} AS {name}" for n, name in enumerate(FEATURES))
    step_us = _YEAR_S * 1_000_000 // ROWS_PER_KEY
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'; SET memory_limit = '2GB'")
        con.execute(f"SET temp_directory = '{workdir}'; SET preserve_insertion_order = false")
        # As a build leaves them: customer after customer, each in the order of time.
        con.execute(
            f"COPY (SELECT 'customer-' || (i // {ROWS_PER_KEY}) AS customer_id, "
            f"TIMESTAMPTZ '{_START}' + to_microseconds({step_us} * (i % {ROWS_PER_KEY}) "
            f"+ (hash(i, 2) % {step_us})::BIGINT) AS event_timestamp, "
            "event_timestamp + to_seconds((hash(i, 3) % 172800)::BIGINT) AS created_timestamp, "
            f"{values} FROM range({rows}) AS numbers(i)) TO '{path}' (FORMAT parquet)"
        )


def _value_sql(n: int) -> str:
    """Doubles as the feature tables have them: of 40, 24 counts, 4 sums of money, 12 states."""
    if n < 24:
        # Most windows of most customers are empty or nearly so.
        return f"floor(pow(hash(i, {n}) % 1000 / 1000.0, 4) * {10 * (1 + n % 4)})"
    if n < 28:
        return f"CASE WHEN hash(i, {n}) % 3 = 0 THEN hash(i, -{n}) % 50000 / 100.0 ELSE 0.0 END"
    return f"CASE WHEN hash(i, {n}) % 5 = 0 THEN NULL ELSE hash(i, -{n}) / 1e16 END"


def write_entities(workdir: Path, feature_rows: int) -> None:
    """Entity rows at random seconds of the year; one in twenty of an unknown customer."""
    rng = np.random.default_rng(0)
    rows = max(min(ENTITY_ROWS, feature_rows // ROWS_PER_KEY), 1)
    customers = max(feature_rows // ROWS_PER_KEY, 1)
    seconds = pd.to_timedelta(rng.integers(0, _YEAR_S, rows), unit="s")
    frame = pd.DataFrame(
        {
            "customer_id": [
                f"customer-{i}" for i in rng.integers(0, int(customers * 1.05) + 1, rows)
            ],
            "event_timestamp": pd.Timestamp(_START) + seconds,
            "row": np.arange(rows),
        }
    )
    frame.to_parquet(workdir / "entities.parquet", coerce_timestamps="us")


def measure(workdir: Path, which: str) -> dict[str, float]:
    """Run one store in this process; leaves its answer beside the features."""
    entities = pd.read_parquet(workdir / "entities.parquet")
    store = _store(workdir, which)
    refs = [f"features:{name}" for name in FEATURES]
    started, busy = time.perf_counter(), time.process_time()
    answer = store.get_historical_features(
        entities, refs, filter_by_created_timestamp=True
    ).to_arrow()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - busy
    peak = peak_mb()
    pq.write_table(answer, workdir / f"{which}.parquet")
    return {"seconds": seconds, "cpu_s": cpu_seconds, "peak_mb": round(peak)}


def _measure_apart(workdir: Path, which: str) -> dict[str, float]:
    code = (
        "import json, pathlib, sys; from infra.bench import pit_join; "
        "print(json.dumps(pit_join.measure(pathlib.Path(sys.argv[1]), sys.argv[2])))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(workdir), which]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _store(workdir: Path, which: str) -> FeatureStore:
    narrow = {
        "type": "feature_repo.stores.offline.NarrowDuckDBOfflineStore",
        "home": str(workdir),
        "memory_limit": "500MB",
    }
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(workdir / f"{which}.db"),
        offline_store=narrow if which == "ours" else {"type": "duckdb"},
        online_store=None,
        entity_key_serialization_version=3,
    )
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="features",
        entities=[customer],
        schema=[Field(name=name, dtype=Float64) for name in FEATURES],
        source=FileSource(
            path=str(workdir / "features.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
    )
    store = FeatureStore(config=config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.apply([customer, view])
    return store


def _different_cells(workdir: Path) -> int:
    """Cells that differ; missing equals missing. The stock store returns rows in any order."""
    ours, stock = (
        pd.read_parquet(workdir / f"{which}.parquet").sort_values("row", ignore_index=True)
        for which in _STORES
    )
    if not ours["row"].equals(stock["row"]):
        return len(ours) * len(FEATURES)
    left, right = ours[[*FEATURES]].to_numpy(), stock[[*FEATURES]].to_numpy()
    return int((~((left == right) | (np.isnan(left) & np.isnan(right)))).sum())
