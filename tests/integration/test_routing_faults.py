"""What may go wrong around a router: deadly messages, copies, full streams, models that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import redis

from feature_repo.errors import QueueFull
from feature_repo.settings import Settings
from feature_repo.stream import score_streams
from feature_repo.stream.queue import open_queue
from feature_repo.stream.score_streams import (
    ROUTER,
    SCORE_CHANGED,
    SCORE_REQUESTS,
    SCORE_RESULTS,
)
from feature_repo.stream.settings import QueueSettings
from serving.asks import Ask
from serving.routing import leases
from serving.routing.message import ActionKind
from serving.routing.router import Router
from serving.routing.scorer import Verdicts
from serving.routing.settings import Cap
from tests.integration.routing_world import Reader, ask, router_of, routing
from tests.integration.stream_world import START, World, event

pytestmark = pytest.mark.integration

Opened = Callable[..., Router]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as found:
        yield found


@pytest.fixture
def world(tmp_path: Path, client: redis.Redis, redis_url: str) -> World:
    return World(tmp_path, client, redis_url)


@pytest.fixture
def settings(world: World) -> Settings:
    return world.settings


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def opened(settings: Settings, client: redis.Redis, closing: ExitStack) -> Opened:
    def open_it(bounds: QueueSettings | None = None, **changes: object) -> Router:
        return router_of(settings, client, closing, routing(**changes), bounds)

    return open_it


@pytest.fixture
def results(settings: Settings, closing: ExitStack) -> Reader:
    reader = Reader(settings, SCORE_RESULTS)
    closing.callback(reader.close)
    return reader


@pytest.fixture
def changed(settings: Settings, closing: ExitStack) -> Reader:
    reader = Reader(settings, SCORE_CHANGED)
    closing.callback(reader.close)
    return reader


def put(settings: Settings, *requests: Mapping[str, object]) -> None:
    queue = open_queue(settings, stream=SCORE_REQUESTS)
    ask(queue, *map(dict, requests))
    queue.close()


def test_a_request_that_is_no_utf8_is_buried_and_ends_no_router(
    settings: Settings, opened: Opened, results: Reader
) -> None:
    queue = open_queue(settings, stream=SCORE_REQUESTS)
    queue.publisher().publish([b'{"id":"\xff","target":"buy","customer_id":"x"}'])
    put(settings, {"id": "r1", "customer_id": "ann"})

    opened().run_once()

    assert [one.request_id for one in results.read()] == ["r1"]
    assert [letter.reason for letter in queue.dead()] == ["JSON with text that is not UTF-8"]
    queue.close()


@pytest.mark.parametrize("is_in_order", [True, False])
def test_a_message_that_ends_whoever_has_it_is_counted(
    settings: Settings, closing: ExitStack, is_in_order: bool
) -> None:
    queue = open_queue(settings, stream=SCORE_REQUESTS)
    closing.callback(queue.close)
    queue.publisher().publish([b"x"])
    seen: list[int] = []

    def work(name: str) -> None:
        with ExitStack() as stack:
            consumer = queue.consumer(ROUTER, name)
            stack.callback(consumer.close)
            seen.extend(one.deliveries for one in consumer.take(10, 0.0))
            if not is_in_order:
                raise KeyError

    for turn in range(4):
        with nullcontext() if is_in_order else pytest.raises(KeyError):
            work(f"c{turn}")

    assert seen == ([1, 1, 1, 1] if is_in_order else [1, 2, 3, 4])


def test_a_router_that_dies_of_a_message_in_python_is_noticed_and_the_message_buried(
    settings: Settings,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    results: Reader,
) -> None:
    put(settings, {"id": "deadly", "customer_id": "ann"})

    def live_and_die() -> None:
        with ExitStack() as closing:
            router = router_of(settings, client, closing, routing())
            monkeypatch.setattr(router.desk.tools.scorer, "score", dying)
            router.run_once()

    for _ in range(5):
        with pytest.raises(KeyError):
            live_and_die()
    with ExitStack() as closing:
        router = router_of(settings, client, closing, routing())
        router.run_once()
        (letter,) = router.queues[0].dead()

    assert "handed out 5 times" in letter.reason
    assert results.read() == []


def dying(asks: Sequence[Ask]) -> list[Verdicts | None]:
    raise KeyError


def test_copies_of_a_request_get_one_answer_and_are_one_send(
    settings: Settings, opened: Opened, results: Reader
) -> None:
    router = opened(caps=(Cap(2, 7),))
    put(settings, *[{"id": "r1", "customer_id": "ann"}] * 3)
    router.run_once()
    put(settings, {"id": "r1", "customer_id": "ann"})
    router.run_once()
    put(settings, {"id": "r2", "customer_id": "ann"}, {"id": "r3", "customer_id": "ann"})
    router.run_once()

    found = results.read()

    assert len({one.id for one in found if one.request_id == "r1"}) == 1
    assert [one.action.kind for one in found if one.request_id in {"r2", "r3"}] == [
        ActionKind.SEND,
        ActionKind.HOLD,
    ]


def test_answers_are_erased_with_the_customer(
    settings: Settings, client: redis.Redis, opened: Opened
) -> None:
    put(settings, {"id": "r1", "customer_id": "ann"}, {"id": "r2", "customer_id": "bob"})
    opened().run_once()
    assert len([*client.scan_iter("foresend:shop:answer:*")]) == 2
    assert score_streams.knows(client, "shop", ["ann"])

    score_streams.forget(client, "shop", ["ann"])

    assert not score_streams.knows(client, "shop", ["ann"])
    (left,) = client.scan_iter("foresend:shop:answer:*")
    assert b'"bob"' in cast("bytes", client.get(left))


def ttl(client: redis.Redis, key: str | bytes) -> int:
    return cast("int", client.ttl(key))


def test_what_is_remembered_goes_in_time(
    settings: Settings, world: World, client: redis.Redis, opened: Opened
) -> None:
    router = opened(caps=(Cap(1, 7),), valid_hours=2.0)
    world.handler.handle([event("e1", "ann", event_time=START)])
    put(settings, {"id": "r1", "customer_id": "ann"}, {"id": "r2", "customer_id": "stranger"})
    router.run_once()
    days = {
        name: ttl(client, f"foresend:shop:routed:{name}") / 86_400 for name in ("ann", "stranger")
    }

    assert 179 < days["ann"] <= 180
    assert 37 < days["stranger"] <= 38  # as far as a cap reaches, and a send may be ahead
    for pattern in ("foresend:shop:answer:*", "foresend:shop:answered:*"):
        lives = [ttl(client, key) for key in client.scan_iter(pattern)]
        assert len(lives) == 2
        assert all(0 < life <= 7_200 for life in lives)


def test_a_send_in_the_past_is_one_now(settings: Settings, opened: Opened, results: Reader) -> None:
    router = opened(caps=(Cap(1, 7),))
    past = (datetime.now(UTC) - timedelta(days=30)).isoformat()
    began = datetime.now(UTC)
    put(settings, *({"id": f"r{n}", "customer_id": "ann", "send_at": past} for n in range(3)))
    router.run_once()

    first, *others = (one.action for one in results.read())

    assert first.kind is ActionKind.SEND
    for other in others:
        assert (other.kind, other.rule) == (ActionKind.HOLD, "frequency_cap")
        assert datetime.fromisoformat(str(other.until)) >= began + timedelta(days=7)


def test_a_stream_nobody_reads_drops_its_oldest_and_stops_nothing(
    settings: Settings, client: redis.Redis, opened: Opened
) -> None:
    client.xgroup_create("foresend:shop:score.results", "gone", id="0", mkstream=True)
    router = opened(QueueSettings(stream_bytes=20_000))
    router.desk.results._gate._looked_at = -float("inf")  # type: ignore[attr-defined]
    for turn in range(10):
        put(settings, *({"id": f"r{turn}-{n}", "customer_id": f"c{n}"} for n in range(10)))
        router.run_once()
        router.desk.results._gate._looked_at = -float("inf")  # type: ignore[attr-defined]

    requests = open_queue(settings, stream=SCORE_REQUESTS)
    assert requests.backlog(ROUTER).messages == 0
    requests.close()
    key = "foresend:shop:score.results"
    ((_, body),) = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrevrange(key, count=1))
    assert b'"r9-9"' in body[b"b"]
    cut = router.queues[1].cut()
    assert cut == 100 - cast("int", client.xlen(key)) > 0


def test_requests_are_answered_while_changes_cannot_be_told(
    settings: Settings,
    world: World,
    opened: Opened,
    results: Reader,
    changed: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = opened()
    router.run_once()
    world.handler.handle([event("e1", "ann")])
    with monkeypatch.context() as patched:
        patched.setattr(type(router.changes.publisher), "publish", refusing(router))
        for turn in range(3):
            put(settings, {"id": f"r{turn}", "customer_id": "ann"})
            router.run_once()
        exposition = router.worker.exposition().decode()

    assert [one.request_id for one in results.read()] == ["r0", "r1", "r2"]
    assert 'foresend_routing_stopped{part="changes"} 1.0' in exposition
    router.turns.parts[1].not_before = -float("inf")
    router.run_once()
    assert [one.customer_id for one in changed.read()] == ["ann"]


def refusing(router: Router) -> Callable[..., None]:
    """As the publisher, but changes are refused."""
    real = type(router.changes.publisher).publish

    def publish(self: object, *args: object, **kwargs: object) -> None:
        if self is router.changes.publisher:
            full = "full"
            raise QueueFull(full)
        real(self, *args, **kwargs)  # type: ignore[arg-type]

    return publish


class Failing:
    """A scorer whose model fails on some customers."""

    def __init__(self, router: Router, bad: set[str]) -> None:
        self._real = router.changes.tools.scorer
        self.bad = bad
        tools = replace(router.changes.tools, scorer=self)
        router.changes.tools = router.desk.tools = tools

    def score(self, asks: Sequence[Ask]) -> list[Verdicts | None]:
        found = self._real.score(asks)
        return [
            None
            if verdicts is None
            else [
                None if one.customer_id in self.bad else verdict
                for one, verdict in zip(one_ask.customers, verdicts, strict=True)
            ]
            for one_ask, verdicts in zip(asks, found, strict=True)
        ]

    def close(self) -> None:
        """Nothing is held open."""


def test_a_customer_the_model_fails_on_costs_the_others_nothing(
    settings: Settings, world: World, opened: Opened, results: Reader, changed: Reader
) -> None:
    router = opened()
    router.run_once()
    Failing(router, {"bob"})
    world.handler.handle([event("e1", "ann"), event("e2", "bob")])
    put(settings, {"id": "r1", "customer_id": "ann"}, {"id": "r2", "customer_id": "bob"})
    router.run_once()

    assert [one.request_id for one in results.read()] == ["r1"]
    assert [one.customer_id for one in changed.read()] == ["ann"]
    (letter,) = router.queues[0].dead()
    assert "fails on this customer" in letter.reason
    assert router.queues[0].backlog(ROUTER).messages == 0


def test_while_a_model_fails_on_everybody_requests_and_changes_wait(
    settings: Settings,
    world: World,
    opened: Opened,
    results: Reader,
    changed: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "LEASE_S", 0.0)  # ends at once
    router = opened()
    router.run_once()
    failing = Failing(router, {"ann", "bob"})
    world.handler.handle([event("e1", "ann"), event("e2", "bob")])
    put(settings, {"id": "r1", "customer_id": "ann"})
    router.run_once()
    assert (results.read(), changed.read(), router.queues[0].dead()) == ([], [], [])

    failing.bad = set()
    monkeypatch.setattr(leases, "LEASE_S", 10.0)
    for request in router.desk._in_hand.values():
        request.not_before = -float("inf")
    router.run_once()

    assert [one.request_id for one in results.read()] == ["r1"]
    assert {one.customer_id for one in changed.read()} == {"ann", "bob"}
