"""Every process of the stream killed at random under load: nothing lost, nothing counted twice."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from infra.bench.fleet import Fleet
from infra.bench.stream_account import Account, account, wait_until_absorbed
from infra.bench.webhook_load import Load, make_load, send

pytestmark = pytest.mark.e2e

KILLS = int(os.environ.get("STREAM_KILLS", "50"))
SEED = int(os.environ.get("STREAM_KILLS_SEED", "20261124"))
EVENTS_PER_ROUND = 400
# Fewer seconds until a dead consumer's messages go to another; the logic is the same.
QUICK = {"FORESEND_QUEUE_CLAIM_AFTER_S": "2"}


def test_fifty_kills_at_random_lose_no_event_and_count_none_twice(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    loads: list[Load] = []
    with Fleet(tmp_path / "home", env=QUICK, redis_args=("--appendfsync", "always")) as fleet:
        for kill in range(KILLS):
            load = make_load(
                EVENTS_PER_ROUND, 20, customers=200, seed=kill, now=time.time(), span_s=600
            )
            loads.append(load)
            sender = threading.Thread(target=send, args=(fleet.url, load.bodies))
            sender.start()
            time.sleep(rng.uniform(0.0, 0.4))
            victim = rng.choice(list(fleet.services))
            fleet.kill(victim)
            fleet.start(victim)
            fleet.wait(victim)
            sender.join()
        wait_until_absorbed(fleet.settings, KILLS * EVENTS_PER_ROUND)
        time.sleep(3)
        found = account(fleet.settings, loads)
        exits = {name: fleet.stop(name) for name in reversed(fleet.services)}

    assert found == Account(missing=0, repeated=0, wrong_online=0)
    assert set(exits.values()) == {0}
