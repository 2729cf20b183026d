"""The router killed at every step and at random: nothing is lost, nothing is said two ways."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from confluent_kafka import Producer

from feature_repo.settings import Settings
from feature_repo.stream.port import Queue
from feature_repo.stream.queue import open_queue
from feature_repo.stream.score_streams import (
    SCORE_CHANGED,
    SCORE_REQUESTS,
    SCORE_RESULTS,
    SCORE_STREAMS,
)
from feature_repo.stream.settings import QueueSettings
from serving.routing.message import ActionKind, Routed
from tests.integration.routing_world import SCORES, Reader, ask
from tests.integration.stream_world import START, World, event

pytestmark = pytest.mark.integration

CUSTOMERS = 40
CAP = 2

# The step is named as Class.method; the process dies as soon as a call of it has returned.
_ROUTER = """
import os, sys
from contextlib import ExitStack
import redis
from feature_repo.addresses import redis_url
from feature_repo.settings import Settings
from serving.routing import changes, leases, memory, requests
from serving.routing.settings import Cap
from tests.integration.routing_world import router_of, routing

leases.LEASE_S = 0.5
changes.MOST = requests.MOST = 7

def deadly(call):
    def called(*args, **kwargs):
        result = call(*args, **kwargs)
        if args[1:] and args[1]:
            os._exit(9)
        return result
    return called

client = redis.Redis.from_url(redis_url(Settings()))
with ExitStack() as closing:
    router = router_of(Settings(), client, closing, routing(caps=(Cap(2, 7),)))
    owners = {"Book": memory.Book, "Leases": leases.Leases, "Results": type(router.desk.results),
              "Consumer": type(router.desk.consumer)}
    if len(sys.argv) > 1:
        owner, _, step = sys.argv[1].partition(".")
        setattr(owners[owner], step, deadly(getattr(owners[owner], step)))
    print("ready", flush=True)
    while True:
        router.run_once()
"""

STEPS = [
    "Book.intend",
    "Results.publish",
    "Consumer.ack",
    "Book.settle",
    "Leases.give_up",
    "Leases.take",
]

Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def kafka_brokers() -> Iterator[str]:
    host = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused"})
    brokers = host.list_topics(timeout=10).brokers
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())
    host.flush(1)


@pytest.fixture
def world(tmp_path: Path, redis_url: str) -> Iterator[World]:
    with redis.Redis.from_url(redis_url) as client:
        client.set("foresend:shop:routing:on", b"1")
        yield World(tmp_path, client, redis_url)


@pytest.fixture
def start(
    world: World, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Started]:
    """Starts a router and waits until it is ready; those that still run are killed after it."""
    monkeypatch.setenv("FORESEND_REDIS_URL", redis_url)
    monkeypatch.setenv("FORESEND_PROJECT", "shop")
    running: list[subprocess.Popen[str]] = []

    def start_it(*steps: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _ROUTER, *steps]
        with (tmp_path / "router.log").open("a") as log:
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True))
        stdout = running[-1].stdout
        assert stdout is not None
        assert stdout.readline() == "ready\n", (tmp_path / "router.log").read_text()
        return running[-1]

    yield start_it
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("step", STEPS)
def test_a_death_after_any_step_loses_nothing(step: str, world: World, start: Started) -> None:
    with ExitStack() as closing:
        queue, results, changed = streams(world.settings, closing)
        put(queue, world, 0)

        assert start(step).wait(timeout=30) == 9
        assert start(step).wait(timeout=30) == 9
        start()
        wait_until(lambda: is_done(queue, world))

        results.read()
        changed.read()
        check(results.messages, changed.messages, world, rounds=1)


def test_kills_at_random_lose_nothing(world: World, start: Started) -> None:
    chance = random.Random(7)
    with ExitStack() as closing:
        queue, results, changed = streams(world.settings, closing)
        for number in range(5):
            router = start()
            put(queue, world, number)
            time.sleep(chance.uniform(0.0, 0.15))
            router.kill()
            router.wait()
        start()
        start()  # two at once
        wait_until(lambda: is_done(queue, world))

        results.read()
        changed.read()
        check(results.messages, changed.messages, world, rounds=5)


def test_over_kafka_too(
    world: World, start: Started, kafka_brokers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Producer({"bootstrap.servers": kafka_brokers})
    for stream in SCORE_STREAMS:
        for suffix in ("", ".dead"):
            client.list_topics(f"foresend.shop.{stream.name}{suffix}", timeout=10)
    given: dict[str, str] = {
        "FORESEND_QUEUE": "kafka",
        "FORESEND_KAFKA_BROKERS": kafka_brokers,
        "FORESEND_QUEUE_KAFKA_SESSION_S": "5",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    kafka = world.settings.model_copy(update={"queue": "kafka", "kafka_brokers": kafka_brokers})
    with ExitStack() as closing:
        queue, results, changed = streams(kafka, closing)
        queue.publisher().publish([b"{"])
        put(queue, world, 0)

        assert start("Results.publish").wait(timeout=60) == 9
        start()
        wait_until(lambda: is_done(queue, world))
        until = time.monotonic() + 30
        while time.monotonic() < until and len({r.request_id for r in results.messages}) < 40:
            results.read(0.5)
        while time.monotonic() < until and len({r.customer_id for r in changed.messages}) < 40:
            changed.read(0.5)

        check(results.messages, changed.messages, world, rounds=1)
        assert len(queue.dead()) == 1


def streams(settings: Settings, closing: ExitStack) -> tuple[Queue, Reader, Reader]:
    queue = open_queue(settings, QueueSettings(kafka_session_s=5.0), stream=SCORE_REQUESTS)
    closing.callback(queue.close)
    readers = [Reader(settings, stream) for stream in (SCORE_RESULTS, SCORE_CHANGED)]
    for reader in readers:
        closing.callback(reader.close)
    return queue, readers[0], readers[1]


def put(queue: Queue, world: World, number: int) -> None:
    """A request and an event of every customer, and a new score."""
    names = [f"c{place}" for place in range(CUSTOMERS)]
    scores: Mapping[str, str] = {name: str(0.1 + 0.8 * (number % 2)) for name in names}
    world.client.hset(SCORES, mapping=dict(scores))
    ask(queue, *({"id": f"{name}-{number}", "customer_id": name} for name in names))
    world.handler.handle([event(f"{name}-{number}", name, event_time=START) for name in names])


def check(results: list[Routed], changed: list[Routed], world: World, *, rounds: int) -> None:
    wanted = {f"c{place}-{number}" for place in range(CUSTOMERS) for number in range(rounds)}
    answers = defaultdict(set)
    for one in results:
        answers[one.request_id].add(one)
    assert set(answers) == wanted
    assert {len(said) for said in answers.values()} == {1}  # said again, if at all, word by word
    sends: dict[str, set[str]] = defaultdict(set)
    for one in results:
        if one.action.kind is ActionKind.SEND:
            sends[one.customer_id].add(one.id)
    assert max(map(len, sends.values())) <= CAP
    told: dict[str, list[Routed]] = defaultdict(list)
    for one in changed:
        told[one.customer_id].append(one)
    for customer, said in told.items():
        numbers = [one.seq for one in said]
        assert numbers == sorted(numbers)
        assert len({one.id for one in said}) == len(set(numbers))
        assert said[-1].score == float(world.client.hget(SCORES, customer) or b"0")
        fresh = list({one.id: one for one in said}.values())
        befores = [one.score_before for one in fresh]
        assert befores == [None, *(one.score for one in fresh[:-1])]
    assert len(told) == CUSTOMERS


def is_done(queue: Queue, world: World) -> bool:
    left = [world.client.zcard(f"foresend:shop:routing:{name}") for name in ("changed", "leased")]
    return not any(left) and not queue.backlog("router").messages


def wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until, "did not come about within 60 s"
        time.sleep(0.05)
