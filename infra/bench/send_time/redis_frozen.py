"""A Redis that hangs under load: how long anybody waits, and how soon answers are full again."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from feature_repo import online
from infra.bench.send_time.load import Answers, open_loop, request
from infra.bench.send_time.world import World, on_other_core, ours, scoring_world

PER_S: Final = 500.0
SECONDS: Final = 10.0
FROZEN: Final = ((3.0, 4.0), (6.0, 8.0))
"""From when to when Redis hangs."""

ALLOWED_MS: Final = 20.0


def run(workdir: Path) -> dict[str, Any]:
    """The slowest of 99.9 % of the answers while Redis hangs, against the 20 ms allowed.

    `back_s`: from Redis going on until all answers are full again, the worse of two times.
    """
    with scoring_world(workdir) as world, on_other_core(), ours(world) as server:
        url = server.url + "/v1/score"
        requests = [request(url, body, world.headers) for body in world.bodies(1)]
        open_loop(url, requests, per_s=PER_S, seconds=2.0)
        began = time.perf_counter()
        freezer = threading.Thread(target=_freeze, args=(world, began))
        freezer.start()
        found = open_loop(url, requests, per_s=PER_S, seconds=SECONDS, connections=64)
        freezer.join()
    at, latency = np.array(found.at), np.array(found.latency) * 1e3
    frozen = np.logical_or.reduce([(at >= start) & (at < end) for start, end in FROZEN])
    flagged = np.array(found.without_store)
    worst = float(np.percentile(latency[frozen], 99.9))
    return {
        "ours": worst,
        "baseline": ALLOWED_MS,
        "ratio": worst / ALLOWED_MS,
        "unit": "ms p99.9 while frozen",
        "within_20_ms": f"{int((latency[frozen] <= ALLOWED_MS).sum())} of {int(frozen.sum())}",
        "flagged": f"{int(flagged[frozen].sum())} of {int(frozen.sum())}",
        "not_200": len(found.status) - found.count(200) + found.lost,
        "back_s": round(max(_back(found, end) for _, end in FROZEN), 3),
    }


def _freeze(world: World, began: float) -> None:
    assert world.settings.redis_url is not None
    with online.connect(world.settings.redis_url.get_secret_value()) as client:
        pid = int(client.info("server")["process_id"])
    for start, end in FROZEN:
        time.sleep(max(0.0, began + start - time.perf_counter()))
        os.kill(pid, signal.SIGSTOP)
        time.sleep(max(0.0, began + end - time.perf_counter()))
        os.kill(pid, signal.SIGCONT)


def _back(found: Answers, resumed: float) -> float:
    """Seconds from a moment to the last answer without the store in the two seconds after it."""
    flagged = [
        moment - resumed
        for moment, away in zip(found.at, found.without_store, strict=True)
        if away and resumed <= moment < resumed + 2.0
    ]
    return max(flagged, default=0.0)
