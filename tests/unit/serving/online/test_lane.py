"""Failures in a row close the lane, and a probe opens it again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from feature_repo.errors import StoreUnavailable
from serving.online import lane as lane_module
from serving.online.address import command, parse
from serving.online.connection import NoReply
from serving.online.lane import FAILURES_TO_OPEN, LONGEST_WAIT_S, PROBE_S, Breaker, Lane
from serving.online.reading import Reading
from tests.unit.serving.online.fake_redis import FakeRedis, loading, mute, polite, running

CHECK = Reading("foresend").check


def forbidding(words: list[bytes]) -> bytes:
    """What Redis says to a user who may read no hash."""
    if words[0] == b"HGETALL":
        return b"-NOPERM this user has no permissions to run the 'hgetall' command\r\n"
    return polite(words)


async def read(lane: Lane) -> None:
    await lane.ask(CHECK.commands, CHECK.count, CHECK.read)


def with_lane(
    fake: FakeRedis, test: Callable[[Lane], Awaitable[None]], read_timeout_s: float = 2.0
) -> None:
    async def run() -> None:
        async with running(fake):
            lane = Lane(
                parse(fake.url), CHECK, read_timeout_s=read_timeout_s, connect_timeout_s=0.5
            )
            try:
                await test(lane)
            finally:
                await lane.close()

    asyncio.run(run())


async def get(lane: Lane, key: str = "a") -> object:
    return await lane.ask(command(b"GET", key.encode()), 1, lambda replies: replies[0])


async def get_when_back(lane: Lane) -> object:
    while True:
        try:
            return await get(lane, "back")
        except StoreUnavailable:
            await asyncio.sleep(0.01)


async def fail(lane: Lane) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        await get(lane)
    return str(caught.value)


def test_a_breaker_opens_at_failures_in_a_row_and_only_a_probe_closes_it() -> None:
    breaker = Breaker()
    for _ in range(5):
        assert not breaker.failed()
        breaker.succeeded()

    opened = [breaker.failed() for _ in range(FAILURES_TO_OPEN + 2)]

    assert opened == [False] * (FAILURES_TO_OPEN - 1) + [True, False, False]
    # An answer to what was asked before is no sign that it is back.
    breaker.succeeded()
    assert breaker.is_open
    breaker.close()
    assert not breaker.is_open


def test_many_readers_share_one_connection_and_get_their_own() -> None:
    fake = FakeRedis(polite)

    async def test(lane: Lane) -> None:
        replies = await asyncio.gather(*(get(lane, str(i)) for i in range(200)))

        assert replies == [str(i).encode() for i in range(200)]
        assert fake.connections == 1

    with_lane(fake, test)


def test_a_reader_cancelled_while_the_connection_is_opened_does_not_end_it() -> None:
    fake = FakeRedis(polite)

    async def test(lane: Lane) -> None:
        first, second = (asyncio.create_task(get(lane, key)) for key in "ab")
        await asyncio.sleep(0)
        first.cancel()

        assert await second == b"b"
        assert first.cancelled()
        assert fake.connections == 1

    with_lane(fake, test)


def test_an_idle_connection_that_redis_closed_is_opened_again() -> None:
    fake = FakeRedis(polite)

    async def test(lane: Lane) -> None:
        await get(lane)
        fake.hang_up()
        await asyncio.sleep(0.05)

        assert await get(lane, "b") == b"b"

    with_lane(fake, test)


@pytest.mark.parametrize("trouble", [mute, loading])
def test_a_store_that_fails_is_left_alone_until_a_probe_finds_it_back(trouble: Any) -> None:
    fake = FakeRedis(polite)

    async def test(lane: Lane) -> None:
        await get(lane)
        fake.answer = trouble
        for _ in range(FAILURES_TO_OPEN):
            assert "does not answer" in await fail(lane)
        asked = fake.seen.count([b"GET", b"a"])
        for _ in range(20):
            assert "keeps failing" in await fail(lane)
        with pytest.raises(StoreUnavailable):
            await lane.ping()
        # Nobody asked it anything meanwhile.
        assert fake.seen.count([b"GET", b"a"]) == asked

        fake.answer = polite
        assert await get_when_back(lane) == b"back"
        await lane.ping()

    with_lane(fake, test, read_timeout_s=0.02)


def test_replies_that_are_not_what_was_expected_count_as_failures() -> None:
    def refuse(replies: list[object]) -> None:
        raise NoReply(reason="it says something else")

    async def test(lane: Lane) -> None:
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(StoreUnavailable, match="something else"):
                await lane.ask(command(b"GET", b"a"), 1, refuse)

        assert "keeps failing" in await fail(lane)

    with_lane(FakeRedis(polite), test)


def test_a_redis_that_answers_ping_and_no_reads_is_away_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeRedis(polite)
    told: list[str] = []
    monkeypatch.setattr(lane_module.log, "info", lambda event, **_: told.append(event))

    async def test(lane: Lane) -> None:
        await read(lane)
        fake.answer = forbidding
        with pytest.raises(StoreUnavailable, match="NOPERM"):
            await lane.ping()
        for _ in range(FAILURES_TO_OPEN - 1):
            with pytest.raises(StoreUnavailable, match="NOPERM"):
                await read(lane)
        # Fresh connections are let in and answer PING.
        opened = fake.connections
        while fake.connections < opened + 3:
            with pytest.raises(StoreUnavailable, match="keeps failing"):
                await read(lane)
            await asyncio.sleep(0.01)
        assert told == []

        fake.answer = polite
        assert await get_when_back(lane) == b"back"
        assert told == ["online_store_back"]
        await lane.ping()

    with_lane(fake, test)


def test_a_store_that_fails_again_at_once_is_looked_at_less_and_less_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    probe = Lane._probe

    async def noted(lane: Lane, wait_s: float) -> None:
        waits.append(wait_s)
        await probe(lane, 0.0)

    monkeypatch.setattr(Lane, "_probe", noted)

    def refuse(replies: list[object]) -> None:
        raise NoReply(reason="it says something else")

    async def test(lane: Lane) -> None:
        for _ in range(5):
            await get_when_back(lane)
            for _ in range(FAILURES_TO_OPEN):
                with pytest.raises(StoreUnavailable, match="something else"):
                    await lane.ask(command(b"GET", b"a"), 1, refuse)
        await get_when_back(lane)
        # After a while that it was well for, it is looked at at once.
        lane._probed_at -= 10.0
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(StoreUnavailable, match="something else"):
                await lane.ask(command(b"GET", b"a"), 1, refuse)
        await get_when_back(lane)

    with_lane(FakeRedis(polite), test)
    assert waits == [0.0, PROBE_S, 2 * PROBE_S, LONGEST_WAIT_S, LONGEST_WAIT_S, 0.0]


def test_a_lane_that_is_closed_while_it_probes_leaves_nothing_behind() -> None:
    fake = FakeRedis(mute)

    async def test(lane: Lane) -> None:
        lane_ = Lane(parse(fake.url), CHECK, read_timeout_s=0.01, connect_timeout_s=0.02)
        for _ in range(FAILURES_TO_OPEN):
            await fail(lane_)
        await asyncio.sleep(0.01)
        await lane_.close()

        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in others if "open_connection" in str(task)]
        assert not [task for task in others if "_probe" in str(task)]
        assert "is closed" in await fail(lane_)

    with_lane(fake, test)


def test_readers_that_wait_when_the_lane_is_closed_fail_and_nobody_probes() -> None:
    fake = FakeRedis(polite)

    async def test(lane: Lane) -> None:
        await get(lane)
        fake.answer = mute
        waiting = [asyncio.create_task(fail(lane)) for _ in range(2 * FAILURES_TO_OPEN)]
        await asyncio.sleep(0.01)
        await lane.close()

        assert all("closed" in told for told in await asyncio.gather(*waiting))
        assert not [task for task in asyncio.all_tasks() if "_probe" in str(task)]

    with_lane(fake, test)
