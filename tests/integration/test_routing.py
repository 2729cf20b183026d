"""Requests and results, changed scores, leases: the router over a real Redis."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from feature_repo.errors import ConfigError, StoreUnavailable
from feature_repo.event import EventType
from feature_repo.settings import Settings
from feature_repo.stream import score_streams
from feature_repo.stream.queue import open_queue
from feature_repo.stream.score_streams import SCORE_CHANGED, SCORE_REQUESTS, SCORE_RESULTS
from infra.cli import build_app
from serving.routing.leases import LEASE_S, Leases
from serving.routing.message import ActionKind
from serving.routing.router import Router
from serving.routing.scorer import Verdict
from serving.routing.settings import Cap, Rule
from tests.integration.routing_world import SCORES, TARGET, Reader, ask, router_of, routing
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
    def open_it(**changes: object) -> Router:
        return router_of(settings, client, closing, routing(**changes))

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


def put(settings: Settings, *requests: dict[str, object]) -> None:
    queue = open_queue(settings, stream=SCORE_REQUESTS)
    ask(queue, *requests)
    queue.close()


def test_a_request_is_answered_with_score_tier_and_action(
    settings: Settings, world: World, opened: Opened, results: Reader, client: redis.Redis
) -> None:
    world.handler.handle([event("e1", "ann")])
    client.hset(SCORES, "ann", "0.7")
    request = {"id": "r1", "customer_id": "ann", "campaign_id": "spring", "message_id": "m1"}
    put(settings, request)

    opened().run_once()

    (answer,) = results.read()
    assert (answer.score, answer.tier, answer.customer_id) == (0.7, "high", "ann")
    assert (answer.request_id, answer.campaign_id, answer.message_id) == ("r1", "spring", "m1")
    assert (answer.action.kind, answer.action.rule) == (ActionKind.SEND, "default")
    assert datetime.fromisoformat(answer.expires_at) > datetime.now(UTC)
    requests = open_queue(settings, stream=SCORE_REQUESTS)
    assert requests.backlog("router").messages == 0
    requests.close()


def test_bad_requests_are_buried_with_their_reason_and_the_rest_goes_on(
    settings: Settings, opened: Opened, results: Reader
) -> None:
    queue = open_queue(settings, stream=SCORE_REQUESTS)
    queue.publisher().publish([b"{", b"\xff\x00", b'{"id": "r0"}'])
    ask(queue, {"id": "r1", "customer_id": "ann"}, {"id": "r2", "customer_id": "b", "target": "x"})
    far = (datetime.now(UTC) + timedelta(days=60)).isoformat()
    ask(queue, {"id": "r3", "customer_id": "ann", "send_at": far}, {"id": "r4", "customer_id": "b"})

    opened().run_once()

    assert {answer.request_id for answer in results.read()} == {"r1", "r4"}
    letters = queue.dead()
    assert [letter.group for letter in letters] == ["router"] * 5
    told = " | ".join(letter.reason for letter in letters)
    assert "target is not one of buy, untrained" in told
    assert "send_at is more than 31 days ahead" in told
    assert queue.backlog("router").messages == 0
    queue.close()


def test_an_expired_request_is_not_answered(
    settings: Settings, opened: Opened, results: Reader
) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    put(settings, {"id": "r1", "customer_id": "ann", "expires_at": past})
    put(settings, {"id": "r2", "customer_id": "ann"})

    opened().run_once()

    assert [answer.request_id for answer in results.read()] == ["r2"]


def test_a_request_without_a_model_waits_and_holds_nobody_up(
    settings: Settings, opened: Opened, results: Reader
) -> None:
    put(settings, {"id": "r1", "customer_id": "ann", "target": "untrained"})
    put(settings, {"id": "r2", "customer_id": "ann"})
    router = opened()

    router.run_once()
    router.run_once()

    assert [answer.request_id for answer in results.read()] == ["r2"]
    queue = open_queue(settings, stream=SCORE_REQUESTS)
    assert queue.backlog("router").messages == 1
    queue.close()


def test_a_cap_holds_after_so_many_sends_whatever_batch_they_come_in(
    settings: Settings, opened: Opened, results: Reader
) -> None:
    router = opened(caps=(Cap(3, 7),))
    for start in (0, 4):
        put(settings, *({"id": f"r{n}", "customer_id": "ann"} for n in range(start, start + 4)))
        router.run_once()

    kinds = [answer.action.kind for answer in results.read()]

    assert kinds == [ActionKind.SEND] * 3 + [ActionKind.HOLD] * 5
    assert len({answer.id for answer in results.messages}) == 8
    assert rising([answer.seq for answer in results.messages])


def test_rules_read_the_customers_facts(
    settings: Settings, world: World, opened: Opened, results: Reader
) -> None:
    gone = [event(f"s{n}", type=EventType.UNSUBSCRIBED, event_time=START) for n in range(1)]
    sends = [
        event(f"m{n}", "bob", type=EventType.SENT, event_time=datetime.now(UTC)) for n in range(4)
    ]
    world.handler.handle([*gone, *sends])
    tired = Rule(name="tired", kind=ActionKind.HOLD, when={"recent_sends": 3.5}, hold_days=2.0)
    put(settings, *({"id": name, "customer_id": name} for name in ("ann", "bob", "eve")))

    opened(rules=(tired,)).run_once()

    found = {one.customer_id: one.action for one in results.read()}
    assert (found["ann"].kind, found["ann"].rule) == (ActionKind.SUPPRESS, "unsubscribed")
    assert (found["bob"].kind, found["bob"].rule) == (ActionKind.HOLD, "tired")
    assert (found["eve"].kind, found["eve"].rule) == (ActionKind.SEND, "unknown_customer")


def test_nothing_is_noted_while_routing_is_off(world: World, client: redis.Redis) -> None:
    world.handler.handle([event("e1", "ann")])

    assert not [*client.scan_iter("foresend:shop:routing:*")]


def test_an_event_is_noted_with_the_write_and_told_once(
    world: World, opened: Opened, changed: Reader, client: redis.Redis
) -> None:
    router = opened()
    router.run_once()
    world.handler.handle([event("e1", "ann"), event("e2", "ann"), event("e3", "bob")])
    assert set(client.zrange(score_streams.changed_key("shop"), 0, -1)) == {b"ann", b"bob"}

    router.run_once()

    assert {one.customer_id for one in changed.read()} == {"ann", "bob"}
    assert {(one.score_before, one.tier_before) for one in changed.messages} == {(None, None)}
    assert not [*client.scan_iter("foresend:shop:routing:*ed")]
    world.handler.handle([event("e1", "ann")])  # known already: nothing changes
    router.run_once()
    assert changed.read() == []


def test_a_flip_of_tier_and_a_large_move_are_told_and_a_small_one_is_not(
    world: World, opened: Opened, changed: Reader, client: redis.Redis
) -> None:
    router = opened()
    router.run_once()
    told = []
    for number, score in enumerate((0.5, 0.54, 0.56, 0.59, 0.61, 0.6)):
        client.hset(SCORES, "ann", str(score))
        world.handler.handle([event(f"e{number}", "ann", event_time=START)])
        router.run_once()
        told += [(one.score, one.score_before, one.tier, one.tier_before) for one in changed.read()]

    assert told == [
        (0.5, None, "low", None),
        (0.56, 0.5, "low", "low"),
        (0.61, 0.56, "high", "low"),
    ]
    assert rising([one.seq for one in changed.messages])


def test_recompute_and_load_have_their_customers_scored_anew(
    world: World, opened: Opened, changed: Reader, client: redis.Redis
) -> None:
    world.archive([event("e1", "ann"), event("e2", "bob")])
    router = opened()
    router.run_once()

    world.build_and_load()
    assert client.zcard(score_streams.loaded_key("shop")) == 2
    router.run_once()
    assert {one.customer_id for one in changed.read()} == {"ann", "bob"}

    client.hset(SCORES, "ann", "0.9")
    world.handler.handle([event("e3", "ann")])
    world.archive([event("e3", "ann")])
    router.run_once()
    changed.read()
    client.hset(SCORES, "ann", "0.1")
    world.recompute()  # ann began from a loaded row and is owed an exact state
    router.run_once()

    assert [(one.customer_id, one.score) for one in changed.read()] == [("ann", 0.1)]


def test_what_changed_by_an_event_comes_before_what_was_loaded(
    settings: Settings, client: redis.Redis
) -> None:
    leases = Leases(client, "shop", lambda: datetime.now(UTC))
    leases.switch_on()
    score_streams.note_loaded(client, "shop", [f"c{n}" for n in range(10)], START)
    score_streams.note_changed(client, "shop", ["ann"], datetime.now(UTC))

    assert [*leases.take(1).since] == ["ann"]
    assert len(leases.take(100).since) == 10


def test_a_customer_in_hand_is_not_given_to_another_and_comes_again_after_a_death(
    client: redis.Redis,
) -> None:
    now = datetime.now(UTC)
    leases = Leases(client, "shop", lambda: now)
    leases.switch_on()
    score_streams.note_changed(client, "shop", ["ann", "bob"], now)
    dead = leases.take(1)
    score_streams.note_changed(client, "shop", ["ann"], now)  # changes while in hand

    assert [*dead.since] == ["ann"]
    assert [*leases.take(10).since] == ["bob"]
    assert not leases.take(10).since
    now += timedelta(seconds=LEASE_S + 1)
    heirs = leases.take(10)
    assert set(heirs.since) == {"ann", "bob"}
    assert heirs.since["ann"] == pytest.approx(dead.since["ann"])
    leases.give_up(dead, ["ann"])  # too late: another has ann in hand
    leases.give_up(heirs, ["bob"])
    assert client.zrange(score_streams.leased_key("shop"), 0, -1) == [b"ann"]
    leases.give_up(heirs, ["ann"])
    assert [*leases.take(10).since] == ["ann"]


def test_results_go_when_all_readers_have_them_or_they_are_too_old(
    settings: Settings, opened: Opened, results: Reader, client: redis.Redis
) -> None:
    key = "foresend:shop:score.results"
    router = opened(valid_hours=1.0)
    put(settings, {"id": "r1", "customer_id": "ann"})
    router.run_once()
    client.xgroup_create(key, "slow", id="0")
    router.queues[1].trim()
    assert client.xlen(key) == 1

    results.read()
    router.queues[1].trim()
    assert client.xlen(key) == 1  # `slow` has not
    client.xgroup_destroy(key, "slow")
    router.queues[1].trim()

    assert client.xlen(key) == 0


def test_the_metrics_of_a_router_name_no_customer(
    settings: Settings, world: World, opened: Opened
) -> None:
    router = opened()
    router.run_once()
    world.handler.handle([event("e1", "ann-customer")])
    put(settings, {"id": "r1", "customer_id": "ann-customer"})
    router.run_once()

    told = router.worker.exposition().decode()

    assert 'foresend_routing_requests_total{fate="answered"} 1.0' in told
    assert 'foresend_routing_changes_total{fate="told"} 1.0' in told
    assert 'foresend_routing_actions_total{action="send",rule="default"} 1.0' in told
    assert "foresend_routing_change_seconds_count 1.0" in told
    assert "ann-customer" not in told


def rising(numbers: list[int]) -> bool:
    return all(first < second for first, second in itertools.pairwise(numbers))


def test_targets_that_are_not_told_are_still_answered(
    settings: Settings, world: World, opened: Opened, changed: Reader, results: Reader
) -> None:
    router = opened(targets=())
    router.run_once()
    world.handler.handle([event("e1", "ann")])
    put(settings, {"id": "r1", "customer_id": "ann", "target": TARGET})

    router.run_once()

    assert len(results.read()) == 1
    assert changed.read() == []


def test_the_commands_tell_what_was_told_and_which_rule_decides(
    settings: Settings,
    world: World,
    opened: Opened,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "foresend.yaml"
    config.write_text(
        "targets: {buy: {event: purchased, horizon_days: 30, spine: weekly}}\n"
        "routing: {rules: [{name: far, when: {silent_days: 9}, do: suppress},"
        " {name: poor, when: {tier: low, score_below: 0.6}, do: suppress}]}\n"
    )
    for name, value in {
        "FORESEND_HOME": str(tmp_path),
        "FORESEND_PROJECT": "shop",
        "FORESEND_REDIS_URL": redis_url,
        "FORESEND_CONFIG": str(config),
    }.items():
        monkeypatch.setenv(name, value)
    router = opened()
    router.run_once()
    world.handler.handle([event("e1", "ann", event_time=datetime.now(UTC))])
    router.run_once()

    shown = run("show", "ann", "--json")
    explained = run("explain", "ann", "--json")
    supposed = run("explain", "ann", "--json", "--score", "0.9", "--tier", "high")

    assert shown["told"] == {"buy": {"score": 0.5, "tier": "low"}}
    assert (shown["is_known"], shown["holdout"]) == (True, False)
    assert explained["action"]["rule"] == "poor"
    applies = {step["rule"]: step["applies"] for step in explained["steps"]}
    assert applies == {
        "unsubscribed": False,
        "holdout": False,
        "far": False,
        "poor": True,
        "default": True,
    }
    assert supposed["action"]["rule"] == "default"
    assert run("explain", "nobody", "--json")["action"]["rule"] == "unknown_customer"
    assert "poor" in CliRunner().invoke(build_app(), ["routing", "explain", "ann"]).output
    assert "0.5000" in CliRunner().invoke(build_app(), ["routing", "show", "ann"]).output


def run(*words: str) -> dict[str, Any]:
    result = CliRunner().invoke(build_app(), ["routing", *words])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def test_dead_requests_are_listed_and_replayed_by_their_stream(
    settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    monkeypatch.setenv("FORESEND_REDIS_URL", redis_url)
    monkeypatch.setenv("FORESEND_PROJECT", "shop")
    queue = open_queue(settings, stream=SCORE_REQUESTS)
    queue.publisher().publish([b"{"])
    opened().run_once()
    words = ["--stream", "score.requests", "--json"]

    listed = CliRunner().invoke(build_app(), ["queue", "dead", *words])
    replayed = CliRunner().invoke(build_app(), ["queue", "replay", "--all", *words])
    unknown = CliRunner().invoke(build_app(), ["queue", "dead", "--stream", "score.request"])

    (letter,) = json.loads(listed.output)["dead_letters"]
    assert "truncated" in letter["reason"]
    assert json.loads(replayed.output) == {"replayed": 1}
    assert queue.backlog("router").messages == 1
    queue.close()
    assert isinstance(unknown.exception, ConfigError)
    assert "did you mean 'score.requests'" in str(unknown.exception)


def test_a_round_that_fails_is_done_again_without_waiting_for_the_lease(
    world: World, opened: Opened, changed: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = opened()
    router.run_once()
    world.handler.handle([event("e1", "ann")])
    scorer = router.changes.tools.scorer
    away = "away"

    def fail(asks: object) -> None:
        raise StoreUnavailable(away)

    with monkeypatch.context() as patched:
        patched.setattr(scorer, "score", fail)
        router.run_once()
        assert str(router.turns.parts[1].trouble) == away
    at_once(router)

    assert [one.customer_id for one in changed.read()] == ["ann"]


def at_once(router: Router) -> None:
    """A round in which no part waits because it failed before."""
    for part in router.turns.parts:
        part.not_before = -float("inf")
    router.run_once()


def test_a_score_without_features_is_no_answer(
    settings: Settings, opened: Opened, results: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = opened()
    put(settings, {"id": "r1", "customer_id": "ann"})
    verdict = Verdict(score=0.5, tier=None, model_version="1", degraded="store_unavailable")
    with monkeypatch.context() as patched:
        patched.setattr(router.desk.tools.scorer, "score", lambda asks: [[verdict]] * len(asks))
        router.run_once()
        assert "did not answer" in str(router.turns.parts[0].trouble)

    assert results.read() == []
    at_once(router)

    assert [one.request_id for one in results.read()] == ["r1"]


def test_what_nobody_reads_goes_by_its_age(opened: Opened, client: redis.Redis) -> None:
    key = "foresend:shop:score.changed"
    router = opened(valid_hours=1.0)
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    for age_s in (7_200, 3_500):
        client.xadd(key, {"n": "1:2", "b": b"{}"}, id=f"{now_ms - age_s * 1000}-0")

    router.queues[2].trim()

    assert client.xlen(key) == 1
