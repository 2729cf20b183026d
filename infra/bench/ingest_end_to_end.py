"""Webhook to log and Redis, everything on: events per second against Feast's `store.push`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

from infra.bench.fleet import Fleet
from infra.bench.fold_vs_push_100 import push_rows_per_s
from infra.bench.stream_account import account, wait_until_absorbed
from infra.bench.webhook_load import make_load, send

EVENTS: Final = 150_000
PER_BODY: Final = 1_000
CUSTOMERS: Final = 30_000
WARM_UP: Final = 5_000
PUSH_ROWS: Final = 10_000


def run(workdir: Path, events: int = EVENTS) -> dict[str, Any]:
    """Events per second from the first request until the last event is in the log and in Redis.

    The load generator runs on the same machine. `ratio` is to pushing rows of the same view to
    Feast in calls of PUSH_ROWS, its quickest form, in the same run.
    """
    home = workdir / "home"
    rmtree(home, ignore_errors=True)
    warm = make_load(WARM_UP, PER_BODY, customers=CUSTOMERS, seed=1, now=time.time())
    load = make_load(events, PER_BODY, customers=CUSTOMERS, seed=2, now=time.time())
    with Fleet(home) as fleet:
        send(fleet.url, warm.bodies)
        wait_until_absorbed(fleet.settings, WARM_UP)
        before = fleet.cpu_seconds()
        started = time.perf_counter()
        accepted = send(fleet.url, load.bodies)
        wait_until_absorbed(fleet.settings, WARM_UP + events)
        seconds = time.perf_counter() - started
        used = {name: cpu - before[name] for name, cpu in fleet.cpu_seconds().items()}
        found = account(fleet.settings, [warm, load])
    baseline = push_rows_per_s(workdir / "push", PUSH_ROWS)
    cpu = sum(used.values())
    return {
        "ours": events / seconds,
        "baseline": baseline,
        "ratio": events / seconds / baseline,
        "unit": "events/s",
        "accepted_per_s": round(events / accepted),
        "events_per_cpu_second": round(events / cpu),
        "us_per_event": {name: round(value / events * 1e6) for name, value in used.items()},
        **asdict(found),
    }
