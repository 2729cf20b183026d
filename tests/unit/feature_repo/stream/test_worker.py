from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from feature_repo.errors import StoreUnavailable
from feature_repo.event import Event
from feature_repo.stream.envelope import pack, unpack
from feature_repo.stream.port import ONLINE


def test_every_event_is_handled_and_every_message_acknowledged(bench: Any, events: Any) -> None:
    desk = bench(40)
    desk.publish(events(40), per_message=4)

    desk.run()

    assert sorted(desk.handler.handled) == sorted(f"e{n}" for n in range(40))
    assert desk.queue.backlog(ONLINE).messages == 0
    assert desk.metric("foresend_worker_events_total") == 40


def test_messages_are_handled_together_once_the_worker_is_warm(bench: Any, events: Any) -> None:
    desk = bench(64)
    desk.publish(events(64), per_message=1)

    desk.run()

    # 1, 2, 4, 8, 16, 32 and the rest
    assert [len(call) for call in desk.handler.calls] == [1, 2, 4, 8, 16, 32, 1]


def test_a_batch_ends_when_it_has_enough_events(bench: Any, events: Any) -> None:
    desk = bench(60)
    desk.publish(events(60), per_message=1)

    desk.run(online_events=10)

    assert max(len(call) for call in desk.handler.calls) <= 10


def test_a_poison_event_is_buried_alone_and_its_neighbours_get_through(
    bench: Any, events: Any
) -> None:
    desk = bench(99)
    desk.publish(events(100), per_message=25)
    desk.handler.poison = {"e42"}

    desk.run()

    (letter,) = desk.queue.dead()
    assert [event.event_id for event in unpack(letter.body)] == ["e42"]
    assert letter.group == ONLINE
    assert set(desk.handler.handled) == {f"e{n}" for n in range(100)} - {"e42"}
    assert desk.queue.backlog(ONLINE).messages == 0
    assert desk.metric("foresend_worker_dead_letters_total") == 1


def test_several_poison_events_are_found_in_one_batch(bench: Any, events: Any) -> None:
    desk = bench(27)
    desk.publish(events(30), per_message=30)
    desk.handler.poison = {"e0", "e13", "e20"}

    desk.run()

    buried = {event.event_id for letter in desk.queue.dead() for event in unpack(letter.body)}
    assert buried == {"e0", "e13", "e20"}


def test_an_event_that_fails_at_first_is_handled_and_not_buried(bench: Any, events: Any) -> None:
    desk = bench(1)
    desk.publish(events(1))
    desk.handler.poison = {"e0"}
    desk.handler.cured_after = 3

    desk.run()

    assert desk.handler.handled == ["e0"]
    assert desk.queue.dead() == []


def test_neither_reason_nor_log_quotes_the_error(
    bench: Any, events: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = bench(1)
    desk.publish(events(2), per_message=1)
    desk.handler.poison = {"e0"}

    with caplog.at_level(logging.DEBUG):
        desk.run()

    (letter,) = desk.queue.dead()
    assert letter.reason.startswith("ValueError in ")
    assert "Recorder.handle, line" in letter.reason
    said = capsys.readouterr()
    assert "secret" not in letter.reason + caplog.text + said.out + said.err


def test_bytes_that_are_no_events_are_buried_as_they_are(bench: Any, events: Any) -> None:
    desk = bench(2)
    desk.queue.publisher().publish([b"\xff not ours", *pack(events(2))])

    desk.run()

    assert b"\xff not ours" in {letter.body for letter in desk.queue.dead()}
    assert sorted(desk.handler.handled) == ["e0", "e1"]


def test_an_outage_is_waited_for_and_costs_no_event(bench: Any, events: Any) -> None:
    desk = bench(5)
    desk.publish(events(5))
    desk.handler.outages = 3

    desk.run()

    assert sorted(desk.handler.handled) == [f"e{n}" for n in range(5)]
    assert desk.queue.dead() == []
    assert desk.metric("foresend_worker_retries_total", cause="store") == 3


def test_a_stop_during_an_outage_leaves_the_messages_to_the_next_worker(
    bench: Any, events: Any
) -> None:
    desk = bench(5)
    desk.publish(events(5))
    desk.handler.outages = 10_000
    threading.Timer(0.3, desk.stop.set).start()

    desk.run()

    assert desk.handler.handled == []
    assert desk.queue.backlog(ONLINE).messages == 1
    assert desk.queue.backlog(ONLINE).pending == 0


def test_readiness_says_why_the_worker_waits(bench: Any, events: Any) -> None:
    desk = bench(1)
    desk.publish(events(1))
    seen: list[str] = []

    class Away:
        def handle(self, events: Sequence[Event]) -> None:
            seen.extend(desk.health.reasons())
            if len(seen) > 1:
                desk.stop.set()
            message = "Redis is away. Start it."
            raise StoreUnavailable(message)

    desk.handler = Away()
    desk.run()

    assert "Redis is away. Start it." in seen


def test_a_message_whose_process_died_each_time_is_buried_unopened(bench: Any, events: Any) -> None:
    desk = bench(1)
    desk.publish(events(2), per_message=1)
    for number in range(3):
        dying = desk.queue.consumer(ONLINE, f"dying{number}")
        dying.take(1, 0.0)
        dying.close()

    desk.run()

    (letter,) = desk.queue.dead()
    assert [event.event_id for event in unpack(letter.body)] == ["e0"]
    assert letter.reason == "handed out 3 times, and whoever had it died"
    assert desk.handler.handled == ["e1"]


def test_a_batch_in_hand_is_finished_when_the_stop_comes(bench: Any, events: Any) -> None:
    desk = bench(10_000)
    desk.publish(events(3))

    class Stopped:
        def handle(self, events: Sequence[Event]) -> None:
            desk.stop.set()

    desk.handler = Stopped()
    desk.run()

    assert desk.queue.backlog(ONLINE).messages == 0


def test_freshness_counts_from_reception_and_leaves_out_what_was_imported(
    bench: Any, events: Any
) -> None:
    desk = bench(4)
    desk.publish([*events(3), replace(events(1, start=3)[0], backfilled=True)])

    desk.run()

    assert desk.metric("foresend_worker_freshness_seconds_count") == 3
    assert desk.metric("foresend_worker_freshness_seconds_sum") == pytest.approx(0.75)


def test_the_queue_is_trimmed_and_shown(bench: Any, events: Any) -> None:
    desk = bench(1)
    archive = desk.queue.consumer("archive", "a")
    desk.publish(events(4), per_message=1)
    archive.ack([delivery.id for delivery in archive.take(10, 0.0)])
    online = desk.queue.consumer(ONLINE, "o")
    online.ack([delivery.id for delivery in online.take(3, 0.0)])

    desk.run()

    assert len(desk.queue.messages) == 1
    assert desk.metric("foresend_queue_backlog_messages") is not None
    assert desk.metrics.registry.get_sample_value("foresend_queue_trimmed_messages_total") == 3
