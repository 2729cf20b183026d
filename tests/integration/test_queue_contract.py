"""What every queue promises, held by Redis Streams and by Kafka over the wire alike.

Kafka is librdkafka's mock cluster: real protocol over TCP, no persistence, no retention.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Producer

from feature_repo.errors import ConfigError, QueueFull, StoreUnavailable
from feature_repo.event import Event, EventType
from feature_repo.settings import Settings
from feature_repo.stream.envelope import pack, unpack
from feature_repo.stream.metrics import WorkerMetrics
from feature_repo.stream.port import ARCHIVE, ONLINE, Consumer, Delivery, Queue
from feature_repo.stream.queue import open_queue
from feature_repo.stream.settings import QueueSettings
from feature_repo.stream.worker import run_worker

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

PATIENT = {"claim_after_s": 60.0, "kafka_session_s": 5.0}
HASTY = {"claim_after_s": 0.4, "kafka_session_s": 5.0}

Opened = Callable[..., Queue]

_numbers = itertools.count()

_DIES_WITH_MESSAGES = """
import sys, time
from feature_repo.settings import Settings
from feature_repo.stream.consumer_name import process_name
from feature_repo.stream.queue import open_queue
consumer = open_queue(Settings()).consumer("online", process_name("victim"))
taken = []
while len(taken) < int(sys.argv[1]):
    taken += consumer.take(10, 1.0)
print("holds", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def kafka_brokers() -> Iterator[str]:
    host = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused"})
    brokers = host.list_topics(timeout=10).brokers
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())
    host.flush(1)


@pytest.fixture(params=["redis", "kafka"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def environment(kind: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Variables that make a process use the queue of this test."""
    found = {"FORESEND_QUEUE": kind, "FORESEND_PROJECT": f"contract{next(_numbers)}"}
    if kind == "redis":
        return found | {"FORESEND_REDIS_URL": request.getfixturevalue("redis_url")}
    brokers = request.getfixturevalue("kafka_brokers")
    client = Producer({"bootstrap.servers": brokers})
    for topic in ("events", "dead"):
        client.list_topics(f"foresend.{found['FORESEND_PROJECT']}.{topic}", timeout=10)
    # The mock waits 3 s for members before it deals out partitions; a session must outlive that.
    return found | {"FORESEND_KAFKA_BROKERS": brokers, "FORESEND_QUEUE_KAFKA_SESSION_S": "5"}


@pytest.fixture
def opened(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Opens the queue of this test; what was opened is closed after it."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    queues: list[Queue] = []

    def open_it(**settings: Any) -> Queue:
        queues.append(open_queue(Settings(), QueueSettings(**(PATIENT | settings))))
        return queues[-1]

    yield open_it
    for queue in queues:
        queue.close()


def test_a_group_made_late_gets_what_was_published_before(opened: Opened) -> None:
    queue = opened()
    queue.publisher().publish([b"1", b"2", b"3"])

    consumer = queue.consumer(ONLINE, "late")

    assert bodies(take(consumer, 3)) == {b"1", b"2", b"3"}
    consumer.close()


def test_each_group_gets_every_message_and_acknowledges_for_itself(opened: Opened) -> None:
    queue = opened()
    queue.publisher().publish([b"1", b"2"])
    online, archive = queue.consumer(ONLINE, "o"), queue.consumer(ARCHIVE, "a")

    online.ack(ids(take(online, 2)))

    assert queue.backlog(ONLINE).messages == 0
    assert queue.backlog(ARCHIVE).messages == 2
    assert bodies(take(archive, 2)) == {b"1", b"2"}
    online.close()
    archive.close()


def test_what_was_acknowledged_in_any_order_never_comes_again_and_the_rest_does(
    opened: Opened,
) -> None:
    queue = opened()
    queue.publisher().publish([str(n).encode() for n in range(20)])
    first = queue.consumer(ONLINE, "first")
    taken = take(first, 20)
    kept, done = taken[3], [delivery for delivery in taken if delivery is not taken[3]]

    first.ack(ids(reversed(done)))
    first.close()
    second = queue.consumer(ONLINE, "second")
    again = take(second, 1)

    assert kept.body in bodies(again)
    second.ack(ids(again))
    second.close()
    left = {b for b in bodies(again) if b != kept.body}
    # Redis knows each message; Kafka goes back to the first gap of the partition.
    assert left <= bodies(done)


def test_a_message_nobody_works_on_comes_again_to_the_living(opened: Opened) -> None:
    queue = opened(**HASTY)
    queue.publisher().publish([b"1"])
    consumer = queue.consumer(ONLINE, "slow")
    (first,) = take(consumer, 1)

    (again,) = take_after(consumer, 0.6)

    assert (first.deliveries, again.deliveries) == (1, 2)
    assert again.id == first.id
    consumer.close()


def test_a_message_that_is_kept_does_not_come_again(opened: Opened) -> None:
    queue = opened(**HASTY)
    queue.publisher().publish([b"1"])
    consumer = queue.consumer(ONLINE, "slow")
    taken = take(consumer, 1)

    for _ in range(6):
        time.sleep(0.15)
        consumer.keep(ids(taken))

    assert consumer.take(10, 0.05) == []
    consumer.close()


def test_what_comes_while_messages_are_kept_is_not_lost(opened: Opened) -> None:
    queue = opened()
    publisher = queue.publisher()
    publisher.publish([b"1"])
    consumer = queue.consumer(ONLINE, "slow")
    taken = take(consumer, 1)

    for number in range(2, 12):
        publisher.publish([str(number).encode()])
        time.sleep(0.05)
        consumer.keep(ids(taken))

    assert bodies(take(consumer, 10)) == {str(number).encode() for number in range(2, 12)}
    consumer.close()


def test_messages_of_a_killed_process_go_to_another(
    opened: Opened, environment: dict[str, str]
) -> None:
    queue = opened()
    queue.publisher().publish([b"1", b"2", b"3"])
    victim = _process_that_holds(3)
    victim.kill()
    victim.wait()
    heir = queue.consumer(ONLINE, "heir")

    taken = take(heir, 3, within_s=60)

    assert bodies(taken) == {b"1", b"2", b"3"}
    assert max(delivery.deliveries for delivery in taken) == 2
    heir.ack(ids(taken))
    assert queue.backlog(ONLINE).messages == 0
    heir.close()


def test_deaths_over_one_message_are_counted(opened: Opened) -> None:
    queue = opened()
    queue.publisher().publish([b"poison"])
    for _ in range(2):
        victim = _process_that_holds(1)
        victim.kill()
        victim.wait()

    heir = queue.consumer(ONLINE, "heir")

    assert [delivery.deliveries for delivery in take(heir, 1, within_s=60)] == [3]
    heir.close()


def test_leaving_in_order_is_not_held_against_a_message(opened: Opened) -> None:
    queue = opened()
    queue.publisher().publish([b"1"])
    for name in ("first", "second", "third"):
        consumer = queue.consumer(ONLINE, name)
        take(consumer, 1)
        consumer.close()

    last = queue.consumer(ONLINE, "last")

    assert [delivery.deliveries for delivery in take(last, 1)] == [1]
    last.close()


def test_backlog_counts_what_is_not_acknowledged_and_knows_the_age_of_the_oldest(
    opened: Opened,
) -> None:
    queue = opened()
    assert queue.backlog(ONLINE).messages == 0
    assert queue.backlog(ONLINE).oldest_age_s == 0.0
    publisher = queue.publisher()
    publisher.publish([b"1"])
    time.sleep(0.3)
    publisher.publish([b"2"])
    consumer = queue.consumer(ONLINE, "c")

    taken = take(consumer, 2)
    behind = queue.backlog(ONLINE)

    assert behind.messages == 2
    assert behind.oldest_age_s >= 0.3
    consumer.ack(ids(taken))
    assert queue.backlog(ONLINE).messages == 0
    consumer.close()


def test_a_full_queue_refuses_until_its_groups_have_caught_up(opened: Opened) -> None:
    queue = opened(stream_bytes=100_000, kafka_backlog=100)
    publisher = queue.publisher()
    while queue.fullness() < 1.0:
        publisher.publish([b"x" * 1000] * 10)
    time.sleep(0.3)  # the queue is asked for its state a few times a second
    with pytest.raises(QueueFull, match="foresend queue status"):
        publisher.publish([b"more"])

    for group in (ONLINE, ARCHIVE):
        consumer = queue.consumer(group, group)
        while queue.backlog(group).messages:
            consumer.ack(ids(consumer.take(50, 0.2)))
        consumer.close()
    queue.trim()
    time.sleep(0.3)

    assert queue.fullness() < 0.1
    publisher.publish([b"again"])


def test_a_dead_letter_goes_back_to_its_own_group_alone(opened: Opened) -> None:
    queue = opened()
    queue.bury(b"bad", group=ONLINE, reason="ValueError in somewhere")
    (letter,) = queue.dead()
    online, archive = queue.consumer(ONLINE, "o"), queue.consumer(ARCHIVE, "a")

    revived = queue.revive([letter.id, letter.id + "0"])

    assert (letter.group, letter.body, letter.reason) == (
        ONLINE,
        b"bad",
        "ValueError in somewhere",
    )
    assert revived == 1
    assert queue.dead() == []
    taken = take(online, 1)
    assert bodies(taken) == {b"bad"}
    online.ack(ids(taken))
    assert archive.take(10, 1.0) == []
    assert queue.backlog(ARCHIVE).messages == 0
    online.close()
    archive.close()


def test_discarded_letters_are_gone_and_the_others_stay_in_order(opened: Opened) -> None:
    queue = opened()
    for number in range(4):
        queue.bury(str(number).encode(), group=ARCHIVE, reason="r")
        time.sleep(0.002)
    letters = queue.dead()

    discarded = queue.discard([letters[1].id])

    assert [letter.body for letter in letters] == [b"0", b"1", b"2", b"3"]
    assert discarded == 1
    assert [letter.body for letter in queue.dead(limit=2)] == [b"0", b"2"]
    assert queue.discard([]) == 0


def test_messages_are_shared_by_the_members_of_a_group(opened: Opened) -> None:
    queue = opened()
    publisher = queue.publisher()
    members = [queue.consumer(ONLINE, f"m{number}") for number in range(2)]
    wanted = {str(number).encode() for number in range(40)}
    for member in members:
        member.take(1, 1.0)  # Kafka deals out partitions to those that ask
    seen: list[bytes] = []

    for body in sorted(wanted):
        publisher.publish([body])
    until = time.monotonic() + 20
    while set(seen) < wanted and time.monotonic() < until:
        for member in members:
            taken = member.take(3, 0.1)
            seen += [delivery.body for delivery in taken]
            member.ack(ids(taken))

    assert set(seen) == wanted
    assert queue.backlog(ONLINE).messages == 0
    for member in members:
        member.close()


def test_a_message_of_the_largest_size_gets_through(opened: Opened) -> None:
    queue = opened()
    large = bytes(range(256)) * 2048
    queue.publisher().publish([large] * 12)
    consumer = queue.consumer(ARCHIVE, "c")

    taken = take(consumer, 12)

    assert bodies(taken) == {large}
    consumer.close()


def test_a_worker_buries_the_poison_alone_and_handles_its_neighbours(opened: Opened) -> None:
    queue = opened()
    publisher = queue.publisher()
    for start in range(0, 60, 6):
        publisher.publish([*pack([_event(number) for number in range(start, start + 6)])])
    stop, handled = threading.Event(), set()

    class Choosy:
        def handle(self, events: Sequence[Event]) -> None:
            numbers = {event.event_id for event in events}
            if "e31" in numbers:
                raise ValueError(numbers)
            handled.update(numbers)
            if len(handled) == 59:
                stop.set()

    run_worker(
        queue,
        ONLINE,
        Choosy(),
        name="worker",
        clock=lambda: NOW,
        stop=stop,
        metrics=WorkerMetrics(ONLINE),
        settings=QueueSettings(most_tries=2),
        wait_s=0.1,
    )

    buried = [event.event_id for letter in queue.dead() for event in unpack(letter.body)]
    assert buried == ["e31"]
    assert handled == {f"e{number}" for number in range(60)} - {"e31"}
    assert queue.backlog(ONLINE).messages == 0


@pytest.mark.parametrize("environment", [{}], indirect=False)
def test_a_queue_that_does_not_answer_is_unavailable(
    kind: str, environment: dict[str, str]
) -> None:
    settings = Settings(queue=kind, redis_url="redis://127.0.0.1:1/0", kafka_brokers="127.0.0.1:1")
    queue = open_queue(settings)

    with pytest.raises(StoreUnavailable, match="FORESEND_"):
        queue.ping()
    queue.close()


def test_kafka_without_brokers_says_which_setting_is_missing() -> None:
    with pytest.raises(ConfigError, match="FORESEND_KAFKA_BROKERS"):
        open_queue(Settings(queue="kafka"))


def _event(number: int) -> Event:
    return Event(
        event_id=f"e{number}",
        type=EventType.OPENED,
        customer_id="c1",
        event_time=NOW - timedelta(hours=1),
        received_time=NOW,
    )


def take(consumer: Consumer, count: int, within_s: float = 15) -> list[Delivery]:
    """At least so many messages; a group may need seconds to deal out what it has."""
    taken: list[Delivery] = []
    until = time.monotonic() + within_s
    while len(taken) < count and time.monotonic() < until:
        taken += consumer.take(100, 0.2)
    return taken


def take_after(consumer: Consumer, seconds: float) -> list[Delivery]:
    time.sleep(seconds)
    return take(consumer, 1)


def ids(taken: Any) -> list[str]:
    return [delivery.id for delivery in taken]


def bodies(taken: list[Delivery]) -> set[bytes]:
    return {delivery.body for delivery in taken}


def _process_that_holds(count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _DIES_WITH_MESSAGES, str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    process.stdout.close()
    return process
