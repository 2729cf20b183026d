"""The loop: what is left out, what comes again, what is buried, and what a death costs."""

from __future__ import annotations

import random

import pytest

from feature_repo.errors import StoreUnavailable
from serving.routing.connectors.deliverer import MOST_DELIVERIES, MOST_TRIES
from serving.routing.connectors.pacing import OPENS_AFTER
from serving.routing.connectors.port import DELIVERED, UNKNOWN, Fate, Outcome, dead, retry
from serving.routing.message import Routed
from tests.unit.serving.routing.connectors.world import Bench, message


def delivered(_: Routed) -> Outcome:
    return DELIVERED


def test_messages_are_delivered_and_acknowledged() -> None:
    bench = Bench(delivered)
    bench.source.put(message("ann"), message("bob"))

    bench.rounds()

    assert bench.tool.customers == ["ann", "bob"]
    assert bench.source.acked == ["0", "1"]
    assert bench.count("delivered") == 2


def test_of_each_customer_only_the_newest_is_sent() -> None:
    bench = Bench(delivered)
    bench.source.put(message(seq=1), message(seq=3, score=0.9), message(seq=2), message(seq=3))

    bench.rounds()

    assert [one.seq for call in bench.tool.calls for one in call] == [3]
    assert sorted(bench.source.acked) == ["0", "1", "2", "3"]
    fates = ("superseded", "older", "repeated", "delivered")
    assert [bench.count(fate) for fate in fates] == [1, 1, 1, 1]


def test_what_is_older_than_what_was_delivered_is_dropped() -> None:
    bench = Bench(delivered)
    bench.source.put(message(seq=5))
    bench.rounds()

    bench.source.put(message(seq=4), message(seq=5))
    bench.rounds()

    assert len(bench.tool.customers) == 1
    assert (bench.count("older"), bench.count("repeated")) == (1, 1)
    assert not bench.source.given


def test_when_every_message_matters_all_are_sent_once() -> None:
    bench = Bench(delivered, newest_only=False)
    bench.source.put(message(seq=1), message(seq=2), message(seq=1))

    bench.rounds()

    assert [one.seq for call in bench.tool.calls for one in call] == [1, 2]
    assert bench.count("repeated") == 1


def test_expired_and_other_targets_messages_are_dropped_and_counted() -> None:
    bench = Bench(delivered)
    bench.source.put(
        message("ann", expires_at="2026-03-01T12:00:00Z"), message("bob", target="open")
    )

    bench.rounds()

    assert bench.tool.calls == []
    assert (bench.count("expired"), bench.count("other_target")) == (1, 1)
    assert not bench.source.given


def test_what_expires_while_it_waits_is_dropped() -> None:
    bench = Bench(lambda _: retry("status 503"))
    bench.source.put(message(expires_at="2026-03-01T12:10:00Z"))
    while bench.time.seconds < 700:
        bench.rounds(1)

    assert bench.count("expired") == 1
    assert bench.deliverer.in_hand == 0


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"{}",
        b'{"seq": "one"}',
        # No time that can be read.
        b'{"id":"1","type":"score.changed","time":"","expires_at":"soon","target":"buy",'
        b'"customer_id":"a","score":0.1,"tier":null,"model_version":"1","tier_policy":null,'
        b'"degraded":null,"as_of":null,"action":{"kind":"send","until":null,"reason":"",'
        b'"rule":""},"holdout":false,"seq":1}',
    ],
)
def test_what_is_no_message_is_buried_and_the_rest_goes_on(body: bytes) -> None:
    bench = Bench(delivered)
    bench.source.put(body, message("bob"))

    bench.rounds()

    assert [number for number, _ in bench.source.buried] == ["0"]
    assert bench.tool.customers == ["bob"]
    assert not bench.source.given


def test_a_message_that_nobody_survived_is_buried_unopened() -> None:
    bench = Bench(delivered)
    bench.source.put(message(), deliveries=MOST_DELIVERIES + 1)

    bench.rounds()

    assert bench.tool.calls == []
    assert "handed out" in bench.source.buried[0][1]


def test_a_dead_message_is_buried_with_its_reason_and_acknowledged() -> None:
    bench = Bench(lambda one: dead("status 422") if one.customer_id == "ann" else UNKNOWN)
    bench.source.put(message("ann"), message("bob"))

    bench.rounds()

    assert bench.source.buried == [("0", "status 422")]
    assert sorted(bench.source.acked) == ["0", "1"]
    assert (bench.count("dead"), bench.count("unknown")) == (1, 1)


def test_a_message_is_tried_again_and_not_before_the_tool_said() -> None:
    answers = iter([retry("status 429", 30.0), DELIVERED])
    bench = Bench(lambda _: next(answers))
    bench.source.put(message())

    while len(bench.tool.calls) < 2:
        bench.rounds(1)

    assert bench.time.seconds >= 30.0
    bench.rounds(1)
    assert bench.count("delivered") == 1


def test_after_failures_in_a_row_only_one_message_is_tried() -> None:
    up: list[bool] = []
    bench = Bench(lambda _: DELIVERED if up else retry("no answer (ConnectError)"))
    bench.source.put(*(message(f"c{n}") for n in range(50)))
    while bench.deliverer.trouble is None:
        bench.rounds(1)
    before = len(bench.tool.calls)
    until = bench.time.seconds + 3600
    while bench.time.seconds < until:
        bench.rounds(1)

    assert before == OPENS_AFTER
    assert {len(call) for call in bench.tool.calls[before:]} == {1}
    assert len(bench.tool.calls) - before < 60
    assert "50 messages wait" in str(bench.deliverer.trouble)
    up.append(True)
    until = bench.time.seconds + 310
    while bench.time.seconds < until:
        bench.rounds(1)
    assert bench.count("delivered") == 50
    assert not bench.deliverer.trouble
    assert not bench.source.buried


def test_a_message_that_fails_alone_for_long_is_buried() -> None:
    bench = Bench(lambda one: retry("status 500") if one.customer_id == "bad" else DELIVERED)
    bench.source.put(message("bad"))
    for n in range(3_000):
        if n % 10 == 0:
            bench.source.put(message("good", seq=n + 1))
        bench.rounds(1)
        if bench.source.buried:
            break
        bench.time.sleep(1.0)

    assert "status 500" in bench.source.buried[0][1]
    assert sum(one == "bad" for one in bench.tool.customers) == MOST_TRIES
    assert bench.count("dead") == 1


def test_hands_are_not_filled_beyond_their_bound() -> None:
    bench = Bench(lambda _: retry("no"))
    bench.source.put(*(message(f"c{n}") for n in range(2_500)))

    bench.rounds(30)

    assert bench.deliverer.in_hand == 2_000
    assert len(bench.source.waiting) == 500


def test_a_newer_message_waits_until_the_tool_has_said_what_became_of_the_older() -> None:
    answers = iter([Outcome(Fate.PENDING, after_s=5.0)] * 3 + [DELIVERED, DELIVERED])
    bench = Bench(lambda _: next(answers))
    bench.source.put(message(seq=1))
    bench.rounds(3)
    bench.source.put(message(seq=2), message(seq=3))
    while bench.deliverer.in_hand:
        bench.rounds(1)

    assert [call[0].seq for call in bench.tool.calls] == [1, 1, 1, 1, 3]
    assert sorted(bench.source.acked) == ["0", "1", "2"]
    assert bench.count("superseded") == 1


def test_a_batch_is_waited_for_as_long_as_the_file_says() -> None:
    bench = Bench(delivered, linger_s=10.0)
    bench.source.put(message("ann"))
    bench.rounds(3)
    bench.source.put(message("bob"))
    while not bench.tool.calls:
        bench.rounds(1)

    assert [len(call) for call in bench.tool.calls] == [2]
    assert 10.0 <= bench.time.seconds < 11.0


def test_a_full_batch_is_not_waited_for() -> None:
    bench = Bench(delivered, most=3, linger_s=10.0)
    bench.source.put(*(message(f"c{n}") for n in range(7)))

    bench.rounds(2)

    assert [len(call) for call in bench.tool.calls] == [3, 3]
    assert bench.time.seconds == 0.0


def test_a_queue_that_is_away_costs_nothing() -> None:
    bench = Bench(delivered)
    bench.source.put(message("ann"))
    original = bench.tool.answer

    def goes_away(one: Routed) -> Outcome:
        bench.source.down = True
        return original(one)

    bench.tool.answer = goes_away
    with pytest.raises(StoreUnavailable):
        bench.rounds()
    bench.source.down = False
    bench.rounds()

    assert bench.tool.customers == ["ann"]
    assert bench.source.acked == ["0"]


def test_what_is_in_hand_for_long_is_kept() -> None:
    bench = Bench(lambda _: retry("no"))
    bench.source.put(message("ann"))
    while bench.time.seconds < 60:
        bench.rounds(1)

    assert 3 <= bench.source.kept.count("0") <= 7


@pytest.mark.parametrize("seed", range(20))
def test_deaths_at_any_call_lose_nothing_and_never_bring_back_an_older_message(seed: int) -> None:
    chance = random.Random(seed)
    written: dict[str, int] = {}
    newest: dict[str, int] = {}

    class Death(Exception):
        """The process is gone."""

    def answer(one: Routed) -> Outcome:
        if chance.random() < 0.05:
            raise Death
        if chance.random() < 0.2:
            return retry("busy")
        assert one.seq >= written.get(one.customer_id, 0)
        written[one.customer_id] = one.seq
        if chance.random() < 0.05:
            raise Death
        return DELIVERED

    bench = Bench(answer, most=7)
    for seq in range(1, 200):
        customer = f"c{chance.randrange(20)}"
        newest[customer] = seq
        bench.source.put(message(customer, seq=seq))
    for _ in range(5_000):
        try:
            bench.rounds(1)
        except Death:
            bench.source.die()
            bench.start()
        if not bench.source.waiting and not bench.source.given:
            break

    assert written == newest
    assert bench.source.buried == []
