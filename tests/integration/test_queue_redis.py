"""What only Redis Streams goes through: trimming, a lost tail, no memory left."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from feature_repo.errors import QueueFull, StoreUnavailable
from feature_repo.stream.consumer_name import process_name
from feature_repo.stream.port import ARCHIVE, ONLINE, MarkMoved, Publisher
from feature_repo.stream.redis_streams import RedisQueue
from feature_repo.stream.settings import QueueSettings
from infra.stack.service import redis_binary

pytestmark = pytest.mark.integration


class Server:
    """A Redis of one test, with its file; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *(redis_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
            # Everything answered for is in the file: with `everysec`, Redis may put a write off
            # while an fsync is under way, and a kill would lose it or not by chance.
            *("--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "always"),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with redis.Redis(port=self.port) as client:
            for _ in range(200):
                try:
                    client.ping()
                except redis.RedisError:
                    time.sleep(0.05)
                else:
                    return
        pytest.fail("redis-server did not answer within 10 s")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "redis"
    folder.mkdir()
    made = Server(folder)
    made.start()
    yield made
    if made.process is not None:
        made.kill()


@pytest.fixture
def queue(server: Server) -> Iterator[RedisQueue]:
    made = RedisQueue(server.url, "tests", QueueSettings(claim_after_s=0.4))
    yield made
    made.close()


def test_trimming_keeps_what_any_group_has_not_acknowledged(queue: RedisQueue) -> None:
    queue.publisher().publish([str(n).encode() for n in range(10)])
    online, archive = queue.consumer(ONLINE, "o"), queue.consumer(ARCHIVE, "a")
    online.ack([delivery.id for delivery in online.take(10, 0.1)])
    assert queue.trim() == 0
    taken = archive.take(6, 0.1)

    archive.ack([delivery.id for delivery in (*taken[:3], *taken[4:])])

    assert queue.trim() == 3
    assert queue.backlog(ARCHIVE).messages == 5
    archive.ack([taken[3].id])
    assert queue.trim() == 3
    assert [delivery.body for delivery in archive.take(10, 0.1)] == [b"6", b"7", b"8", b"9"]


def test_a_long_stream_is_trimmed_in_pieces(queue: RedisQueue) -> None:
    queue.publisher().publish([b"x"] * 25_000)
    for group in (ONLINE, ARCHIVE):
        consumer = queue.consumer(group, group)
        while taken := consumer.take(5_000, 0.1):
            consumer.ack([delivery.id for delivery in taken])

    assert queue.trim() == 25_000
    assert queue.backlog(ONLINE).messages == 0


def test_a_mark_is_settled_once_all_groups_are_past_it(queue: RedisQueue) -> None:
    publisher = queue.publisher()
    publisher.publish([b"1"], mark="1")
    publisher.publish([b"2"], mark="2", after="1")
    online, archive = queue.consumer(ONLINE, "o"), queue.consumer(ARCHIVE, "a")
    online.ack([delivery.id for delivery in online.take(2, 0.1)])
    first, second = archive.take(2, 0.1)

    archive.ack([first.id])
    half = publisher.settled()
    archive.ack([second.id])

    assert (half, publisher.settled(), publisher.settled()) == ("1", "2", "2")


def test_a_restart_loses_nothing_and_hands_out_again_what_was_under_way(
    server: Server, queue: RedisQueue
) -> None:
    publisher = queue.publisher()
    publisher.publish([b"1", b"2", b"3"], mark="1")
    consumer = queue.consumer(ONLINE, "c")
    first = consumer.take(1, 0.1)
    server.kill()
    with pytest.raises(StoreUnavailable):
        consumer.take(1, 0.1)
    with pytest.raises(StoreUnavailable):
        publisher.publish([b"4"], mark="2", after="1")

    server.start()
    publisher.publish([b"4"], mark="2", after="1")
    rest = consumer.take(10, 0.1)
    consumer.ack([delivery.id for delivery in (*first, *rest)])

    assert [delivery.body for delivery in (*first, *rest)] == [b"1", b"2", b"3", b"4"]
    assert queue.backlog(ONLINE).messages == 0


def test_a_lost_tail_is_noticed_and_the_publisher_goes_on_from_what_is_held(
    server: Server, queue: RedisQueue, tmp_path: Path
) -> None:
    publisher = queue.publisher()
    publisher.publish([b"1"], mark="1")
    saved = tmp_path / "saved"
    shutil.copytree(server.folder, saved)
    publisher.publish([b"2"], mark="2", after="1")
    publisher.publish([b"3"], mark="3", after="2")
    server.kill()
    shutil.rmtree(server.folder)
    shutil.copytree(saved, server.folder)
    server.start()

    with pytest.raises(MarkMoved) as moved:
        publisher.publish([b"4"], mark="4", after="3")
    publisher.publish([b"2", b"3"], mark="3", after=moved.value.held)

    taken = queue.consumer(ONLINE, "c").take(10, 0.1)
    assert moved.value.held == "1"
    assert [delivery.body for delivery in taken] == [b"1", b"2", b"3"]


def test_an_emptied_redis_gets_its_groups_again_and_the_publisher_notices(
    server: Server, queue: RedisQueue
) -> None:
    publisher = queue.publisher()
    publisher.publish([b"1"], mark="1")
    consumer = queue.consumer(ONLINE, "c")
    before = consumer.take(1, 0.1)
    with redis.Redis.from_url(server.url) as client:
        client.flushall()

    consumer.ack([delivery.id for delivery in before])
    assert consumer.take(1, 0.05) == []
    with pytest.raises(MarkMoved) as moved:
        publisher.check(after="1")
    publisher.remark("0")
    publisher.publish([b"1"], mark="1", after="0")

    assert moved.value.held is None
    assert [delivery.body for delivery in consumer.take(1, 0.1)] == [b"1"]
    assert queue.backlog(ARCHIVE).messages == 1


def test_a_large_publish_with_a_mark_goes_in_pieces_and_its_mark_with_the_last(
    queue: RedisQueue,
) -> None:
    publisher = queue.publisher()

    publisher.publish([b"x" * 1_000_000] * 10, mark="1")

    publisher.check(after="1")
    assert queue.backlog(ONLINE).messages == 10
    with pytest.raises(MarkMoved):
        publisher.publish([b"x" * 1_000_000] * 10, mark="2", after="0")
    assert queue.backlog(ONLINE).messages == 10


def test_publishing_ends_before_redis_runs_out_of_memory(server: Server, queue: RedisQueue) -> None:
    with redis.Redis.from_url(server.url) as client:
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", used + 20_000_000)
    publisher = queue.publisher()

    with pytest.raises(QueueFull):
        _publish_until_refused(publisher)

    with redis.Redis.from_url(server.url) as client:
        client.set("the online store", "can still write")


def test_a_redis_that_refuses_for_memory_is_a_full_queue(server: Server, queue: RedisQueue) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)
    greedy = RedisQueue(server.url, "tests", QueueSettings(memory_share=1.0))
    greedy.fullness = lambda: 0.0  # type: ignore[method-assign]  # as if it had not been seen yet

    with pytest.raises(QueueFull, match="no memory left"):
        greedy.publisher().publish([b"1"])
    greedy.close()


def test_messages_deleted_by_hand_do_not_stay_pending(server: Server, queue: RedisQueue) -> None:
    queue.publisher().publish([b"1", b"2"])
    lost = queue.consumer(ONLINE, "lost")
    deleted, kept = lost.take(2, 0.1)
    with redis.Redis.from_url(server.url) as client:
        client.xdel("foresend:tests:events", deleted.id)
    time.sleep(0.5)
    heir = queue.consumer(ONLINE, "heir")

    taken = heir.take(10, 0.1)
    heir.ack([delivery.id for delivery in taken])
    assert heir.take(10, 0.05) == []

    assert [delivery.id for delivery in taken] == [kept.id]
    assert queue.backlog(ONLINE).messages == 0


def test_consumers_of_dead_processes_are_removed_once_they_have_nothing(
    server: Server, queue: RedisQueue
) -> None:
    machine = process_name("x").rsplit("/", 3)[0]
    gone = queue.consumer(ONLINE, f"{machine}/4194304/1/gone")
    queue.publisher().publish([b"1"])
    gone.take(1, 0.1)
    heir = queue.consumer(ONLINE, process_name("heir"))

    taken = heir.take(1, 0.1)
    again = queue.consumer(ONLINE, process_name("other"))
    again.take(1, 0.05)

    assert [delivery.deliveries for delivery in taken] == [2]
    with redis.Redis.from_url(server.url) as client:
        rows = client.xinfo_consumers("foresend:tests:events", ONLINE)
        names = {row["name"].decode() for row in rows}
    assert names == {process_name("heir"), process_name("other")}


def test_backlog_counts_without_reading_in_any_version(queue: RedisQueue) -> None:
    publisher = queue.publisher()
    for number in range(7):
        publisher.publish([f"{number}".encode()] * 3)
    online, archive = queue.consumer(ONLINE, "o"), queue.consumer(ARCHIVE, "a")
    archive.ack([delivery.id for delivery in archive.take(21, 0.1)])

    online.ack([delivery.id for delivery in online.take(5, 0.1)[:3]])
    queue.trim()

    assert queue.backlog(ONLINE).messages == 18
    assert queue.backlog(ONLINE).pending == 2
    assert queue.backlog(ARCHIVE).messages == 0


def _publish_until_refused(publisher: Publisher) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        publisher.publish([b"x" * 100_000] * 4)
        time.sleep(0.02)
