"""Replies reach who asked for them, whatever happens to readers, bytes and Redis in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis
import pytest

from serving.online.address import command, parse
from serving.online.connection import MOST_WAITING, PIECE, Connection, NoReply, open_connection
from tests.unit.serving.online.fake_redis import FakeRedis, bulk, loading, mute, polite, running

LONG_S = 60.0


class Wire(asyncio.Transport):
    """A transport that keeps what is written, for a test to answer by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_aborted = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def abort(self) -> None:
        self.is_aborted = True

    def words(self) -> list[bytes]:
        """What was to be echoed, in order."""
        reader = hiredis.Reader()
        reader.feed(b"".join(self.writes))
        found = []
        while (command := reader.gets()) is not False:
            found += [command[1]] if command[0] == b"ECHO" else []
        return found


def with_wire(test: Callable[[Connection, Wire], Awaitable[None]]) -> None:
    async def run() -> None:
        connection, wire = Connection(asyncio.get_running_loop()), Wire()
        connection.connection_made(wire)
        await test(connection, wire)
        connection.give_up("the test is over")

    asyncio.run(run())


def reason_of(future: asyncio.Future[list[object]]) -> str:
    error = future.exception()
    assert isinstance(error, NoReply)
    return str(error)


def get(key: str) -> bytes:
    return command(b"GET", key.encode())


def test_what_is_asked_in_one_turn_goes_out_at_once() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        for key in "abc":
            connection.ask(get(key), 1, LONG_S).cancel()
        await asyncio.sleep(0)

        assert len(wire.writes) == 1
        assert len(set(wire.words())) == 3

    with_wire(test)


def test_replies_may_come_in_any_pieces() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        asked = [connection.ask(get(key), 1, LONG_S) for key in "ab"]
        await asyncio.sleep(0)
        one, two = wire.words()
        for byte in bulk(b"A") + bulk(one) + b"*2\r\n+x\r\n:1\r\n" + bulk(two):
            connection.data_received(bytes([byte]))

        assert [await future for future in asked] == [[b"A"], [[b"x", 1]]]

    with_wire(test)


def test_much_may_come_at_once() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        asked = [connection.ask(get(key), 1, LONG_S) for key in "ab"]
        await asyncio.sleep(0)
        one, two = wire.words()
        long, longer = b"A" * (PIECE + 1), b"B" * (3 * PIECE)
        connection.data_received(bulk(long) + bulk(one) + bulk(longer) + bulk(two))

        assert [await future for future in asked] == [[long], [longer]]

    with_wire(test)


def test_a_cancelled_reader_takes_its_replies_with_it() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        asked = [connection.ask(get(key), 1, LONG_S) for key in "abc"]
        await asyncio.sleep(0)
        asked[1].cancel()
        for key, word in zip(b"ABC", wire.words(), strict=True):
            connection.data_received(bulk(bytes([key])) + bulk(word))

        assert (await asked[0], await asked[2]) == ([b"A"], [b"C"])
        assert connection.is_open

    with_wire(test)


def test_a_late_reply_is_thrown_away_and_the_next_reader_gets_its_own() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        late = connection.ask(get("a"), 1, 0.001)
        with pytest.raises(NoReply, match="in time"):
            await late
        punctual = connection.ask(get("b"), 1, LONG_S)
        await asyncio.sleep(0)
        one, two = wire.words()
        connection.data_received(bulk(b"A") + bulk(one) + bulk(b"B") + bulk(two))

        assert await punctual == [b"B"]
        assert connection.is_open

    with_wire(test)


def test_a_later_question_with_less_time_fails_by_its_own_deadline() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        patient = connection.ask(get("a"), 1, 0.001)
        await asyncio.wait([patient])
        # The oldest reply is only waited for now; the next question still has a deadline.
        hurried = connection.ask(get("b"), 1, 0.001)
        await asyncio.wait([hurried])

        assert "in time" in reason_of(patient)
        assert "in time" in reason_of(hurried)
        assert connection.is_open

    with_wire(test)


def test_a_connection_whose_replies_never_come_is_given_up() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        await asyncio.wait([connection.ask(get("a"), 1, 0.001)])
        while connection.is_open:
            await asyncio.sleep(0.02)

        assert wire.is_aborted

    with_wire(test)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        # A reply got lost: what comes is for the next reader.
        (lambda words: bulk(words[0]) + bulk(b"B") + bulk(words[1]), "out of step"),
        # Both replies of a whole question got lost.
        (lambda words: bulk(b"B") + bulk(words[1]), "out of step"),
        (lambda words: b"-LOADING wait\r\n-LOADING wait\r\n", "LOADING"),
        (lambda words: b"-NOAUTH Authentication required.\r\n" * 2, "NOAUTH"),
        (lambda words: b"HTTP/1.1 400 Bad Request\r\n", "protocol"),
    ],
)
def test_doubt_about_replies_ends_the_connection_for_all(
    said: Callable[[list[bytes]], bytes], reason: str
) -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        asked = [connection.ask(get(key), 1, LONG_S) for key in "ab"]
        await asyncio.sleep(0)
        connection.data_received(said(wire.words()))

        assert reason in reason_of(asked[0])
        assert reason in reason_of(asked[1])
        assert wire.is_aborted
        with pytest.raises(NoReply, match="closed"):
            connection.ask(get("c"), 1, LONG_S)

    with_wire(test)


def test_what_nobody_asked_for_ends_the_connection() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        connection.data_received(b"+OK\r\n")

        assert not connection.is_open

    with_wire(test)


def test_an_error_reply_among_others_is_handed_out() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        asked = connection.ask(get("a"), 1, LONG_S)
        await asyncio.sleep(0)
        connection.data_received(b"-WRONGTYPE no\r\n" + bulk(wire.words()[0]))

        (reply,) = await asked
        assert isinstance(reply, hiredis.ReplyError)
        assert connection.is_open

    with_wire(test)


def test_only_so_many_may_wait() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        for _ in range(MOST_WAITING):
            connection.ask(get("a"), 1, LONG_S).cancel()

        with pytest.raises(NoReply, match=str(MOST_WAITING)):
            connection.ask(get("a"), 1, LONG_S)

    with_wire(test)


def test_a_lost_connection_fails_all_that_wait() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        asked = connection.ask(get("a"), 1, LONG_S)
        connection.connection_lost(ConnectionResetError("reset by peer"))

        assert "reset by peer" in reason_of(asked)

    with_wire(test)


def opened(fake: FakeRedis, credentials: str = "") -> list[list[bytes]]:
    """Open a connection to the fake; what it was told."""

    async def run() -> None:
        async with running(fake):
            address = parse(fake.url.replace("://", f"://{credentials}") + "/2")
            connection = await open_connection(address, 0.2)
            connection.give_up("the test is over")

    asyncio.run(run())
    return fake.seen


def test_a_connection_is_let_in_before_it_is_used() -> None:
    seen = opened(FakeRedis(polite), "ann:p@")

    assert seen[:3] == [[b"AUTH", b"ann", b"p"], [b"SELECT", b"2"], [b"PING"]]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (loading, "LOADING"),
        (mute, "within"),
        (lambda words: b"-WRONGPASS no\r\n" if words[0] == b"AUTH" else polite(words), "WRONGPASS"),
        (lambda words: b"-ERR DB index\r\n" if words[0] == b"SELECT" else polite(words), "DB"),
        (lambda words: b"$-1\r\n" if words[0] == b"PING" else polite(words), "None"),
    ],
)
def test_a_connection_that_is_not_let_in_is_none(answer: Any, reason: str) -> None:
    with pytest.raises(NoReply, match=reason):
        opened(FakeRedis(answer), "ann:p@")
