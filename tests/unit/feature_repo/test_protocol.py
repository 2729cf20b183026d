"""Connections with bounds, and the stages of a stop, on a real server."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.serving.gate_world import GateWorld, gated, request

Case = Callable[[GateWorld], Awaitable[None]]


def run(case: Case, **more: Any) -> None:
    async def within() -> None:
        async with gated(**more) as world:
            await case(world)

    asyncio.run(asyncio.wait_for(within(), 30))


async def _ended_with(world: GateWorld, data: bytes, status: int) -> None:
    wire = await world.wire()
    wire.send(data)
    answer = await wire.answer()
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert json.loads(answer.body)["status"] == status
    assert await wire.is_closed()
    assert world.app.started == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n", 431),
        # Nothing of them is ever complete.
        (b"GET / HTTP/1.1\r\na: " + b"b" * 70_000, 431),
        (b"GET /" + b"a" * 70_000, 431),
        # Two lengths: what is the body, and what the next request?
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
    ],
)
def test_what_cannot_be_a_request_is_told_and_ended(data: bytes, status: int) -> None:
    async def case(world: GateWorld) -> None:
        await _ended_with(world, data, status)

    run(case)


@pytest.mark.parametrize(
    "data", [b"GE", b"GET / HTTP/1.1\r\nhos", request(b"0123456789")[:-1]], ids=str
)
def test_a_request_that_takes_too_long_to_come_is_ended(data: bytes) -> None:
    async def case(world: GateWorld) -> None:
        world.gate.bounds.receive_s = 0.0
        await _ended_with(world, data, 408)

    run(case)


def test_a_slow_body_that_the_application_waits_for_ends_with_its_connection() -> None:
    async def case(world: GateWorld) -> None:
        wire = await world.wire()
        wire.send(request(b"0123456789", "/other")[:-1])
        while world.app.started == 0:
            await asyncio.sleep(0.001)
        world.gate.bounds.receive_s = 0.0

        assert (await wire.answer()).status == 408
        assert await wire.is_closed()

    run(case)


def test_a_head_counts_from_its_own_first_byte() -> None:
    async def case(world: GateWorld) -> None:
        wire = await world.wire()
        wire.send(request(b"x" * 100_000, "/other") + request()[:40])
        first = await wire.answer()
        wire.send(request()[40:])

        assert [first.status, (await wire.answer()).status] == [200, 200]

    run(case)


def test_an_idle_connection_is_not_slow() -> None:
    async def case(world: GateWorld) -> None:
        world.gate.bounds.receive_s = 0.0
        wire = await world.wire()
        server = world.server.server_state
        for connection in list(server.connections):
            connection.end_if_slow(asyncio.get_running_loop().time() + 1e6)
        wire.post()

        assert (await wire.answer()).status == 200

    run(case)


def test_a_connection_on_which_nothing_is_ever_asked_is_closed() -> None:
    async def case(world: GateWorld) -> None:
        world.server.config.timeout_keep_alive = 0

        assert await (await world.wire()).is_closed()

    run(case)


def test_a_leaving_server_finishes_says_so_and_closes_the_idle() -> None:
    async def case(world: GateWorld) -> None:
        busy, idle, active = [await world.wire() for _ in range(3)]
        for wire in (idle, active):
            wire.post()
            assert "connection" not in (await wire.answer()).headers
        world.app.go.clear()
        busy.post(b"abc")
        await world.until(1)

        world.server.handle_exit(signal.SIGTERM, None)
        active.post(b"{}", "/v1/other")
        world.app.go.set()
        for wire in (busy, active):
            answer = await wire.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await wire.is_closed()
        assert await idle.is_closed()
        with pytest.raises(ConnectionError):
            await world.wire()

    run(case)


def test_a_half_sent_request_is_waited_for_at_a_stop() -> None:
    async def case(world: GateWorld) -> None:
        half = await world.wire()
        half.send(request(b"0123456789")[:-1])
        await asyncio.sleep(0.05)

        world.server.handle_exit(signal.SIGTERM, None)
        while world.server.servers[0].is_serving():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        half.send(b"9")

        assert (await half.answer()).body == b"10"

    run(case, farewell_s=0.1)


def test_a_connection_made_before_the_stop_is_answered_and_a_later_one_is_not_made() -> None:
    async def case(world: GateWorld) -> None:
        world.server.handle_exit(signal.SIGTERM, None)
        early = await world.wire()
        await asyncio.sleep(0.15)
        early.post()

        assert (await early.answer()).status == 200

    run(case)


def test_a_second_signal_does_not_wait() -> None:
    async def case(world: GateWorld) -> None:
        for _ in range(2):
            world.server.handle_exit(signal.SIGTERM, None)
        while world.server.servers[0].is_serving():
            await asyncio.sleep(0.01)

    run(case, drain_s=1e6)
