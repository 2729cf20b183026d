"""A segment scored as a job, on one core: 40 features, 300 trees."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo import contract, transforms
from infra.bench.feature_data import customer_id
from infra.bench.send_time.baseline import feast_store, prepare, stored_refs
from infra.bench.send_time.world import SERVER_CPU, TARGET, TIERS, UNTIL, World, scoring_world
from serving.audience.engine import ROWS, AudienceScorer, Served
from serving.audience.jobs import CUSTOMER, JobStore
from serving.audience.work import Worker
from serving.matrix import MatrixReader
from serving.model import ScoringModel
from serving.online.bulk_reader import BulkReader
from serving.scoring import Rules
from serving.store import NUMBERS, TEXTS

CUSTOMERS: Final = 40_000
SEGMENT: Final = 160_000
_BASELINE_CHUNKS: Final = 4
_PART_CHUNKS: Final = 40


def run(workdir: Path, customers: int = CUSTOMERS, segment: int = SEGMENT) -> dict[str, Any]:
    """Customers per second of the whole job, result file and all; Redis is on the other core.

    The baseline is a careful user of Feast: an explicit list, 1,000 ids a call, numpy, one thread.
    `parts_us` are microseconds per customer of the parts measured alone.
    """
    with scoring_world(workdir, customers) as world:
        prepare(world)
        os.sched_setaffinity(0, {SERVER_CPU})
        model = ScoringModel.load(world.settings.home / "model")
        with _reader(world) as reader:
            ours = _job(world, model, reader, segment)
            parts = _parts(world, model, reader)
        baseline = _baseline(world)
    return {
        "ours": ours,
        "baseline": baseline,
        "ratio": ours / baseline,
        "unit": "customers/s",
        "parts_us": parts,
    }


def _reader(world: World) -> BulkReader:
    assert world.settings.redis_url is not None
    return BulkReader(world.settings.redis_url.get_secret_value(), project=world.settings.project)


def _job(world: World, model: ScoringModel, reader: BulkReader, segment: int) -> float:
    rng = np.random.default_rng(1)
    ids = [customer_id(int(i)) for i in rng.integers(0, world.customers, segment)]
    jobs = JobStore(world.settings.audience_path, lambda: UNTIL)
    worker = Worker(
        jobs=jobs,
        reader=reader,
        served=lambda _: Served(model, "1", TIERS),
        rules=Rules(1e9, 5.0),
        clock=lambda: UNTIL,
        stopping=lambda: False,
    )
    job = jobs.submit(TARGET, pa.table({CUSTOMER: ids}), send_at=None, by="bench")
    started = time.perf_counter()
    done = worker.work(job)
    seconds = time.perf_counter() - started
    assert pq.read_metadata(jobs.result(done)).num_rows == segment, done.problem
    return segment / seconds


def _parts(world: World, model: ScoringModel, reader: BulkReader) -> dict[str, float]:
    chunk = [customer_id(i) for i in range(ROWS)]
    scorer = AudienceScorer(
        Served(model, "1", TIERS), reader, Rules(1e9, 5.0), send_at=UNTIL, now=UNTIL
    )
    stored = reader.read(chunk)
    inputs = np.array([NUMBERS.index(name) for name in transforms.SEND_TIME_INPUTS])
    at = np.full(ROWS, UNTIL.timestamp())
    at_send = transforms.send_time_matrix(stored.numbers[inputs], at)
    rows = MatrixReader(model.encoder, (*NUMBERS, *transforms.SEND_TIME), TEXTS)
    numbers = np.concatenate([stored.numbers, at_send])
    matrix = rows.matrix(numbers, stored.texts)
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: reader.read(chunk),
        "send_time": lambda: transforms.send_time_matrix(stored.numbers[inputs], at),
        "matrix": lambda: rows.matrix(numbers, stored.texts),
        "model": lambda: model.score_matrix(matrix),
        "all": lambda: scorer.score([*chunk]),
    }
    return {name: round(_us(call), 2) for name, call in calls.items()}


def _us(call: Callable[[], object]) -> float:
    """Microseconds per customer, the quickest of some calls."""
    times = []
    for _ in range(_PART_CHUNKS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times) / ROWS * 1e6


def _baseline(world: World) -> float:
    store, refs = feast_store(world.settings), stored_refs()
    booster = lightgbm.Booster(model_file=str(world.settings.home / "booster.txt"))
    names, seconds = booster.feature_name(), []
    for number in range(_BASELINE_CHUNKS + 1):
        ids = [customer_id(number * ROWS + i) for i in range(ROWS)]
        started = time.perf_counter()
        found = store.get_online_features(refs, [{contract.ENTITY: i} for i in ids]).to_dict()
        columns = {
            name: np.array(values, dtype=float)
            for name, values in found.items()
            if name != contract.ENTITY and name not in contract.TEXT_FEATURES
        }
        columns |= transforms.send_time(columns, np.full(ROWS, UNTIL.timestamp()))
        booster.predict(np.column_stack([columns[name] for name in names]), num_threads=1)
        seconds.append(time.perf_counter() - started)
    return ROWS / min(seconds[1:])
