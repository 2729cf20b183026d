"""Ten thousand hostile deliveries to the real processes: no crash, no 500, nothing unaccounted."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from feature_repo.history.log import EventLog
from feature_repo.ingest.drift.quarantine import Quarantine
from feature_repo.stream.queue import open_queue
from infra.bench.fleet import Fleet
from infra.bench.stream_account import wait_until_absorbed
from tests.unit.feature_repo.ingest.webhook.mutation import hostile
from tests.unit.feature_repo.ingest.webhook.payloads import fixtures

pytestmark = pytest.mark.e2e

DELIVERIES = 10_000
ANSWERS = {200, 202, 400, 401, 413, 415}


def test_ten_thousand_hostile_deliveries_crash_nothing_and_are_never_a_500(tmp_path: Path) -> None:
    rng = random.Random(20261124)
    known = fixtures()
    deliveries = []
    for _ in range(DELIVERIES):
        chosen = rng.choice(known)
        deliveries.append((chosen.provider, hostile(chosen.provider, chosen.body, rng)))
    with Fleet(tmp_path / "home") as fleet:

        def send(first: int) -> Counter[int]:
            found: Counter[int] = Counter()
            with httpx.Client(timeout=60) as client:
                for provider, body in deliveries[first::4]:
                    answer = client.post(f"{fleet.url}/ingest/{provider}", content=body)
                    found[answer.status_code] += 1
            return found

        with ThreadPoolExecutor(4) as pool:
            answers = sum(pool.map(send, range(4)), Counter[int]())
        while (ready := httpx.get(f"{fleet.url}/readyz").json())["backlog_bytes"]:
            time.sleep(0.1)
        wait_until_absorbed(fleet.settings, 1)
        queue = open_queue(fleet.settings)
        dead = queue.dead()
        queue.close()
        quarantine = Quarantine(fleet.settings)
        reasons = {group.reason for group in quarantine.groups()}
        quarantine.close()
        exits = {name: fleet.stop(name) for name in reversed(fleet.services)}
        rows = EventLog(fleet.settings.log_path).snapshot().last_position + 1

    assert set(answers) <= ANSWERS
    assert sum(answers.values()) == DELIVERIES
    assert ready["status"] == "ready"
    assert "mapping_broke" not in reasons
    assert reasons
    assert dead == []
    assert rows > DELIVERIES / 20
    assert set(exits.values()) == {0}
