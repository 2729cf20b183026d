"""Freshness at half of saturation: from the request's first byte to the new feature in Redis."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

import httpx
import numpy as np
import redis

from feature_repo import contract
from feature_repo.online_codec import Layout, feature_field
from infra.bench.fleet import Fleet
from infra.bench.stream_account import wait_until_absorbed
from infra.bench.webhook_load import URL_PATH, make_load, post_until_accepted, send

SATURATION_EVENTS: Final = 60_000
PROBES: Final = 300
PER_BODY: Final = 50
CUSTOMERS: Final = 30_000
PROBE_EVERY_S: Final = 0.1
_GIVE_UP_S: Final = 30.0


def run(workdir: Path, probes: int = PROBES) -> dict[str, Any]:
    """Seconds from sending one event until its customer's features have it: p50, p99, greatest.

    First the rate at which everything keeps up is found with bodies of 50 events, then half of it
    is sent while probes, one event each, are timed by whoever sent them. `baseline` is the one
    second that was asked for.
    """
    home = workdir / "home"
    rmtree(home, ignore_errors=True)
    with Fleet(home) as fleet:
        load = make_load(SATURATION_EVENTS, PER_BODY, customers=CUSTOMERS, seed=1, now=time.time())
        started = time.perf_counter()
        send(fleet.url, load.bodies)
        wait_until_absorbed(fleet.settings, load.events)
        saturation = load.events / (time.perf_counter() - started)
        seconds = probes * PROBE_EVERY_S + 2
        events = int(saturation / 2 * seconds)
        half = make_load(events, PER_BODY, customers=CUSTOMERS, seed=2, now=time.time())
        rate = saturation / 2 / PER_BODY
        sender = threading.Thread(
            target=send, args=(fleet.url, half.bodies), kwargs={"bodies_per_s": rate}
        )
        sender.start()
        taken = _probe(fleet, probes)
        sender.join()
    p50, p99 = (float(np.percentile(taken, share)) for share in (50, 99))
    return {
        "ours": p99,
        "baseline": 1.0,
        "ratio": p99,
        "unit": "s, p99",
        "p50_s": round(p50, 3),
        "max_s": round(max(taken), 3),
        "events_per_s": round(saturation / 2),
        "saturation_per_s": round(saturation),
    }


def _probe(fleet: Fleet, probes: int) -> list[float]:
    layout = Layout(fleet.settings.project, {contract.ACTIVITY: ("opens_total",)})
    field = feature_field(contract.ACTIVITY, "opens_total")
    taken = []
    with (
        httpx.Client(timeout=60) as client,
        redis.Redis.from_url(fleet.services["redis"].url) as store,
    ):
        for number in range(probes):
            customer = f"probe-{number}"
            event = (
                f'[{{"email":"{customer}@example.com","timestamp":{int(time.time())},'
                f'"sg_event_id":"{customer}","event":"open","customer_id":"{customer}",'
                '"useragent":"Mozilla/5.0 (X11) Firefox/130.0"}]'
            )
            key = layout.keys([customer])[0]
            started = time.perf_counter()
            post_until_accepted(client, fleet.url + URL_PATH, event.encode())
            while not store.hexists(key, field):
                if time.perf_counter() - started > _GIVE_UP_S:
                    break
                time.sleep(0.002)
            taken.append(time.perf_counter() - started)
            time.sleep(max(0.0, PROBE_EVERY_S - taken[-1]))
    return taken
