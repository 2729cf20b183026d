"""The fake keeps the same promises, and how publishers get on by marks."""

from __future__ import annotations

import pytest

from feature_repo.errors import QueueFull
from feature_repo.stream.memory import MemoryQueue
from feature_repo.stream.port import ARCHIVE, ONLINE, MarkMoved


def test_a_mark_goes_in_with_the_messages_and_moves_on() -> None:
    publisher = MemoryQueue().publisher()

    publisher.publish([b"1"], mark="1")
    publisher.publish([b"2"], mark="2", after="1")

    publisher.check(after="2")


def test_a_queue_that_forgot_its_tail_refuses_and_tells_the_mark_it_holds() -> None:
    queue = MemoryQueue()
    publisher = queue.publisher()
    publisher.publish([b"1"], mark="1")
    publisher.publish([b"2"], mark="2", after="1")
    queue.forget("1")

    with pytest.raises(MarkMoved) as moved:
        publisher.publish([b"3"], mark="3", after="2")

    assert moved.value.held == "1"
    assert queue.messages == {}


def test_after_the_queue_was_emptied_the_publisher_starts_over_by_remark() -> None:
    queue = MemoryQueue()
    publisher = queue.publisher()
    publisher.publish([b"1"], mark="1")
    queue.forget(None)
    with pytest.raises(MarkMoved) as moved:
        publisher.check(after="1")

    publisher.remark("0")
    publisher.publish([b"1"], mark="1", after="0")

    assert moved.value.held is None
    assert len(queue.messages) == 1


def test_a_mark_is_settled_when_every_group_has_acknowledged_what_it_covers() -> None:
    queue = MemoryQueue()
    publisher = queue.publisher()
    publisher.publish([b"1"], mark="1")
    publisher.publish([b"2"], mark="2", after="1")
    online, archive = queue.consumer(ONLINE, "o"), queue.consumer(ARCHIVE, "a")
    online.ack([delivery.id for delivery in online.take(2, 0.0)])
    before = publisher.settled()

    archive.ack([archive.take(1, 0.0)[0].id])

    assert before is None
    assert publisher.settled() == "1"


def test_a_full_queue_refuses() -> None:
    queue = MemoryQueue(most_messages=2)
    publisher = queue.publisher()
    publisher.publish([b"1", b"2"])

    with pytest.raises(QueueFull):
        publisher.publish([b"3"])


def test_a_dead_letter_goes_back_to_its_group_alone() -> None:
    queue = MemoryQueue()
    queue.bury(b"bad", group=ONLINE, reason="r")
    (letter,) = queue.dead()

    assert queue.revive([letter.id]) == 1
    assert [d.body for d in queue.consumer(ONLINE, "o").take(9, 0.0)] == [b"bad"]
    assert queue.consumer(ARCHIVE, "a").take(9, 0.0) == []
    assert queue.dead() == []
