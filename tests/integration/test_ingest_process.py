"""`foresend ingest` as a process of its own over a real Redis: killed, stopped, without disk."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest

from feature_repo.settings import Settings
from feature_repo.stream.envelope import unpack
from feature_repo.stream.port import ARCHIVE
from feature_repo.stream.queue import open_queue
from tests.conftest import _free_port, _redis_binary, _wait_until_it_answers

pytestmark = pytest.mark.integration

SERVE = (
    "from feature_repo.settings import load_settings; "
    "from feature_repo.ingest.server import serve; "
    "serve(load_settings(), host='127.0.0.1', port={port}, insecure_local=True)"
)


def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"never: {what}")


@dataclass
class Service:
    """An ingest service that can be killed and started again."""

    home: Path
    redis_url: str

    def __post_init__(self) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.home.mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        env = {
            **os.environ,
            "FORESEND_HOME": str(self.home),
            "FORESEND_REDIS_URL": self.redis_url,
            "FORESEND_INGEST_MIN_FREE_BYTES": "0",
            # Small, so that segments end within these tests too.
            "FORESEND_INGEST_SEGMENT_BYTES": "20000",
            "FORESEND_INGEST_RETRY_AFTER_S": "1",
        }
        command = [sys.executable, "-c", SERVE.format(port=self.port)]
        # Not into a file: a file cannot grow while the disk is full.
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self.answers, "the service answers")

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)

    def post(self, *ids: str) -> httpx.Response:
        events = [
            {
                "event": "open",
                "sg_event_id": id,
                "email": "ann@example.org",
                "timestamp": int(time.time()),
                "customer_id": "c-1",
            }
            for id in ids
        ]
        body = orjson.dumps(events)
        return httpx.post(f"{self.url}/ingest/sendgrid", content=body, timeout=10)

    def readiness(self) -> dict[str, object]:
        found: dict[str, object] = httpx.get(f"{self.url}/readyz", timeout=10).json()
        return found

    def until_mapped(self) -> None:
        until(lambda: self.readiness()["backlog_bytes"] == 0, "everything is mapped")


@dataclass
class OwnRedis:
    """A Redis with its append-only file, that may be killed and started again."""

    folder: Path

    def __post_init__(self) -> None:
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        command = [_redis_binary(), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "yes", "--dir", str(self.folder)]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        _wait_until_it_answers(self.port, self.process)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """A Redis of this test alone."""
    found = OwnRedis(tmp_path)
    yield found
    found.kill()


@pytest.fixture
def services() -> Iterator[list[Service]]:
    """Put a started service in here to have it ended."""
    started: list[Service] = []
    yield started
    for service in started:
        service.kill()


def published(service: Service) -> list[str]:
    """Ids of all events in the queue, as often as they are there."""
    settings = Settings(home=service.home, redis_url=service.redis_url)
    queue = open_queue(settings)
    consumer = queue.consumer(ARCHIVE, "test")
    found: list[str] = []
    while taken := consumer.take(1000, 0.0):
        for delivery in taken:
            found += [event.event_id.partition(":")[2] for event in unpack(delivery.body)]
        consumer.ack([delivery.id for delivery in taken])
    consumer.close()
    queue.close()
    return found


class Senders:
    """Threads that deliver until told to stop; they remember what was answered with 2xx."""

    def __init__(self, service: Service, count: int = 4) -> None:
        self.accepted: set[str] = set()
        self.statuses: set[int] = set()
        self._service = service
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number,)) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _send(self, sender: int) -> None:
        number = 0
        while not self._stop.is_set():
            ids = [f"{sender}-{number}-{place}" for place in range(3)]
            number += 1
            try:
                answer = self._service.post(*ids)
            except httpx.HTTPError:
                time.sleep(0.02)
                continue
            self.statuses.add(answer.status_code)
            if answer.is_success:
                self.accepted.update(ids)

    def until_more(self) -> None:
        before = len(self.accepted)
        until(lambda: len(self.accepted) > before + 60, "more deliveries are taken")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_killed_under_load_it_loses_nothing_that_it_answered_for(
    redis_url: str, tmp_path: Path, services: list[Service]
) -> None:
    services.append(service := Service(tmp_path / "home", redis_url))
    chance = random.Random(7)
    senders = Senders(service)
    for _ in range(3):
        senders.until_more()
        time.sleep(chance.random() / 5)
        service.kill()
        service.start()
    senders.until_more()
    senders.stop()
    service.until_mapped()

    found = published(service)
    assert senders.accepted - set(found) == set()
    # A publish carries its mark, so even a kill between two steps repeats nothing.
    assert len(found) == len(set(found))
    assert senders.statuses == {200}


def test_a_full_disk_is_a_503_and_it_recovers_without_losing_anything(
    redis_url: str, tmp_path: Path, services: list[Service]
) -> None:
    services.append(service := Service(tmp_path / "home", redis_url))
    pid = service.process.pid
    senders = Senders(service)
    time.sleep(0.5)
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))
    time.sleep(0.3)
    during = service.post("during")
    before = set(senders.accepted)
    time.sleep(0.3)
    assert senders.accepted == before
    assert (during.status_code, during.headers["retry-after"]) == (503, "1")

    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    until(lambda: senders.accepted > before, "deliveries are taken again")
    senders.stop()
    service.until_mapped()

    found = published(service)
    assert senders.accepted - set(found) == set()
    assert "during" not in found
    assert senders.statuses == {200, 503}


def test_a_stop_drains_and_the_next_start_has_nothing_to_repeat(
    redis_url: str, tmp_path: Path, services: list[Service]
) -> None:
    services.append(service := Service(tmp_path / "home", redis_url))
    senders = Senders(service)
    time.sleep(0.5)
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(timeout=30) == 0
    senders.stop()

    found = published(service)
    assert senders.accepted - set(found) == set()
    service.start()
    service.until_mapped()
    assert published(service) == []


def test_what_a_killed_process_had_landed_is_mapped_by_its_neighbour(
    own_redis: OwnRedis, tmp_path: Path, services: list[Service]
) -> None:
    services.append(first := Service(tmp_path / "home", own_redis.url))
    services.append(second := Service(tmp_path / "home", own_redis.url))
    # Both land; neither can map.
    own_redis.kill()
    ids = {f"e-{number}" for number in range(40)}
    for number, id in enumerate(sorted(ids)):
        assert (first, second)[number % 2].post(id).status_code == 200
    first.kill()
    own_redis.start()

    found: list[str] = []

    def is_all_there() -> bool:
        found.extend(published(second))
        return set(found) == ids

    until(is_all_there, "everything is in the queue")
    assert len(found) == len(ids)


def test_without_redis_deliveries_are_landed_and_mapped_when_it_is_back(
    own_redis: OwnRedis, tmp_path: Path, services: list[Service]
) -> None:
    services.append(service := Service(tmp_path / "home", own_redis.url))
    senders = Senders(service)
    time.sleep(0.3)
    own_redis.kill()
    senders.until_more()
    until(lambda: service.readiness()["status"] == "degraded", "readiness says so")
    own_redis.start()
    senders.stop()
    service.until_mapped()

    assert senders.accepted - set(published(service)) == set()
    assert senders.statuses == {200}


def test_what_an_emptied_redis_forgot_is_published_again(
    own_redis: OwnRedis, tmp_path: Path, services: list[Service]
) -> None:
    services.append(service := Service(tmp_path / "home", own_redis.url))
    ids = [f"e-{number}" for number in range(500)]
    for first in range(0, 500, 20):
        assert service.post(*ids[first : first + 20]).status_code == 200
    service.until_mapped()

    own_redis.kill()
    for path in tmp_path.glob("appendonly*"):
        subprocess.run(["rm", "-r", str(path)], check=True)
    own_redis.start()
    forgotten: set[str] = set()

    def is_back() -> bool:
        forgotten.update(published(service))
        return forgotten == set(ids)

    until(is_back, "everything is in the queue again")
