"""Five times more requests than the server can answer, and bulk requests beside single ones."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from infra.bench.send_time.load import Answers, closed, open_loop, request
from infra.bench.send_time.world import World, on_other_core, ours, scoring_world

GOOD_S: Final = 0.05
"""An answer that takes longer is of no use to a sender at its peak."""

SECONDS: Final = 6.0
_WARM_S: Final = 1.5
_BULK: Final = 1_000
_BULK_PER_S: Final = 8.0
_SINGLES_PER_S: Final = 1_000.0
_NO_GATE: Final = {
    "FORESEND_SERVING_GATE_SINGLES": "100000",
    "FORESEND_SERVING_GATE_BULK": "100000",
}


def run(workdir: Path) -> dict[str, Any]:
    """Answers of status 200 within GOOD_S per second: at five times the peak, against the peak.

    `unguarded` is the same offer to a server whose gate is set wide open.
    """
    with scoring_world(workdir) as world, on_other_core():
        with ours(world) as server:
            url = server.url
            requests = _requests(world, url, 1)
            closed(url, requests, connections=32, seconds=_WARM_S)
            peak = max(
                closed(url, requests, connections=count, seconds=SECONDS / 2).good_per_s(GOOD_S)
                for count in (16, 32)
            )
            flood = open_loop(url, requests, per_s=5 * peak, seconds=SECONDS)
            after = closed(url, requests, connections=16, seconds=_WARM_S)
            alone = open_loop(url, requests, per_s=_SINGLES_PER_S, seconds=SECONDS)
            beside = _beside_bulk(world, url)
        with ours(world, _NO_GATE) as server:
            url = server.url
            requests = _requests(world, url, 1)
            closed(url, requests, connections=32, seconds=_WARM_S)
            unguarded = open_loop(url, requests, per_s=5 * peak, seconds=SECONDS)
    good = flood.good_per_s(GOOD_S)
    return {
        "ours": good,
        "baseline": peak,
        "ratio": good / peak,
        "unit": "good answers/s at 5x",
        "answered_200_per_s": round(flood.per_s),
        "refused_429_per_s": round(flood.count(429) / flood.seconds),
        "other": len(flood.status) - flood.count(200) - flood.count(429),
        "given_up_per_s": round(flood.lost / flood.seconds),
        "p99_ms_accepted": round(flood.ms(99), 1),
        "unguarded_good_per_s": round(unguarded.good_per_s(GOOD_S)),
        "afterwards_per_s": round(after.per_s),
        "singles_p99_ms_alone": round(alone.ms(99), 2),
        "singles_p99_ms_beside_bulk": round(beside.ms(99), 2),
    }


def _beside_bulk(world: World, url: str) -> Answers:
    """Single requests while requests for a thousand customers arrive."""
    bodies = world.bodies(_BULK, requests=20)
    stop = threading.Event()

    def bulk() -> None:
        with httpx.Client(timeout=30, headers=dict(world.headers)) as client:
            began = time.perf_counter()
            for number in range(10_000):
                due = began + number / _BULK_PER_S
                if stop.wait(max(0.0, due - time.perf_counter())):
                    return
                client.post(
                    url + "/v1/score",
                    content=bodies[number % len(bodies)],
                    headers={"Content-Type": "application/json"},
                ).raise_for_status()

    sender = threading.Thread(target=bulk)
    sender.start()
    try:
        return open_loop(url, _requests(world, url, 1), per_s=_SINGLES_PER_S, seconds=SECONDS)
    finally:
        stop.set()
        sender.join()


def _requests(world: World, url: str, customers: int) -> list[bytes]:
    return [request(url + "/v1/score", b, world.headers) for b in world.bodies(customers)]


def second_of(answers: Answers, moment: float) -> float:
    """99th percentile in milliseconds of the answers of the second that begins at a moment."""
    at = np.array(answers.at)
    chosen = np.array(answers.latency)[(at >= moment) & (at < moment + 1.0)]
    return float(np.percentile(chosen, 99) * 1e3) if chosen.size else float("nan")
