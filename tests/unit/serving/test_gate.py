"""The gate in front of score requests, on a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from serving.admission.gate import Budget, Gate, GateMetrics
from serving.admission.gated import GatedProtocol, is_one_request
from tests.unit.serving.gate_world import GateWorld, Wire, gated, request

Case = Callable[[GateWorld], Awaitable[None]]
BULK = b"x" * 20_000


def run(case: Case, **more: Any) -> None:
    async def within() -> None:
        async with gated(**more) as world:
            await case(world)
            for wire in world.wires:
                wire.writer.close()
            world.app.go.set()
            while world.gate.singles.in_flight or world.gate.bulk.in_flight:
                await asyncio.sleep(0.001)

    # Whatever happened, every place is given back at the end: else it would wait for ever here.
    asyncio.run(asyncio.wait_for(within(), 30))


async def _filled(world: GateWorld, places: int = 2) -> list[Wire]:
    """Connections whose requests hold all places."""
    world.app.go.clear()
    wires = [await world.wire() for _ in range(places)]
    for wire in wires:
        wire.post()
    await world.until(places)
    return wires


def test_more_than_fit_are_refused_and_told_when_to_come_again() -> None:
    async def case(world: GateWorld) -> None:
        inside = await _filled(world)
        late = await world.wire()
        late.post()

        refused = await late.answer()
        world.app.go.set()
        answers = [await wire.answer() for wire in inside]

        assert refused.status == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["x-content-type-options"] == "nosniff"
        assert refused.headers["cache-control"] == "no-store"
        assert "date" in refused.headers
        assert json.loads(refused.body)["type"] == "urn:foresend:problem:overloaded"
        assert [answer.status for answer in answers] == [200, 200]
        assert (world.gate.singles.admitted, world.gate.singles.refused) == (2, 1)
        assert world.app.started == 2

    run(case)


def test_a_connection_goes_on_after_a_refusal() -> None:
    async def case(world: GateWorld) -> None:
        inside = await _filled(world)
        late = await world.wire()
        statuses = []
        for _ in range(3):
            late.post(b"0123456789")
            statuses.append((await late.answer()).status)
        world.app.go.set()
        for wire in inside:
            await wire.answer()
        late.post(b"0123456789")
        last = await late.answer()

        assert statuses == [429, 429, 429]
        assert (last.status, last.body) == (200, b"10")

    run(case)


def test_a_refused_request_may_ask_for_the_end_of_its_connection() -> None:
    async def case(world: GateWorld) -> None:
        await _filled(world)
        late = await world.wire()
        late.post(b"{}", "/v1/score", "connection: close")

        refused = await late.answer()

        assert (refused.status, refused.headers["connection"]) == (429, "close")
        assert await late.is_closed()

    run(case)


def test_only_scoring_passes_the_gate() -> None:
    async def case(world: GateWorld) -> None:
        await _filled(world)
        for path in ("/v1/other", "/v1/score/x", "/"):
            (await world.wire()).post(b"{}", path)
            while path not in world.app.paths:
                await asyncio.sleep(0.001)
        get = await world.wire()
        get.send(b"GET /v1/score HTTP/1.1\r\nhost: x\r\n\r\n")
        while world.app.started < 6:
            await asyncio.sleep(0.001)

        assert world.gate.singles.refused == 0

    run(case)


@pytest.mark.parametrize("path", ["/v1/score?a=b", "/v1/%73core", "http://x/v1/score"])
def test_another_spelling_of_the_path_passes_the_same_gate(path: str) -> None:
    async def case(world: GateWorld) -> None:
        await _filled(world)
        (late := await world.wire()).post(b"{}", path)

        assert (await late.answer()).status == 429

    run(case)


def test_a_slow_body_holds_no_place() -> None:
    async def case(world: GateWorld) -> None:
        slow = [await world.wire() for _ in range(5)]
        for wire in slow:
            wire.send(request(b"0123456789")[:-5])
        (quick := await world.wire()).post()

        assert (await quick.answer()).status == 200
        for wire in slow:
            wire.send(b"56789")
            answer = await wire.answer()
            assert (answer.status, answer.body) == (200, b"10")

    run(case)


def test_pipelined_requests_are_answered_in_order_also_when_some_are_refused() -> None:
    async def case(world: GateWorld) -> None:
        world.app.go.clear()
        wire = await world.wire()
        paths = ("/v1/score", "/other") * 2
        wire.send(b"".join(request(b"x" * n, path) for n, path in enumerate(paths, start=1)))
        await world.until(1)
        # When the third one's turn comes there is no place.
        world.gate.singles.limit = 0
        world.app.go.set()
        answers = [await wire.answer() for _ in range(4)]
        world.gate.singles.limit = 2

        assert [answer.status for answer in answers] == [200, 200, 429, 200]
        assert [answers[n].body for n in (0, 1, 3)] == [b"1", b"2", b"4"]
        assert answers[2].headers["x-content-type-options"] == "nosniff"
        assert json.loads(answers[2].body)["status"] == 429
        wire.post(b"12345")
        assert (await wire.answer()).body == b"5"

    run(case)


def test_what_waits_behind_another_request_holds_no_place() -> None:
    async def case(world: GateWorld) -> None:
        world.app.go.clear()
        (greedy := await world.wire()).send(request() * 50)
        await world.until(1)
        (other := await world.wire()).post()
        await world.until(2)
        world.app.go.set()

        assert (await other.answer()).status == 200
        assert [(await greedy.answer()).status for _ in range(50)] == [200] * 50

    run(case)


def test_what_waits_on_a_lost_connection_never_runs() -> None:
    async def case(world: GateWorld) -> None:
        world.app.go.clear()
        wire = await world.wire()
        wire.send(request() * 3)
        await world.until(1)
        wire.writer.transport.abort()
        while world.connections():
            await asyncio.sleep(0.001)
        world.app.go.set()
        await world.until(0)

        assert world.app.started == 1

    run(case, singles=5)


def test_no_more_is_read_while_many_requests_wait_on_the_connection() -> None:
    async def case(world: GateWorld) -> None:
        world.app.go.clear()
        (wire := await world.wire()).send(request() * 20)
        await world.until(1)
        (connection,) = world.connections()
        while not world.app.started:
            await asyncio.sleep(0.001)

        assert connection.flow.read_paused
        wire.post()
        await asyncio.sleep(0.02)
        assert len(connection.pipeline) == 19
        world.app.go.set()
        assert [(await wire.answer()).status for _ in range(21)] == [200] * 21

    run(case)


async def _unread(world: GateWorld, data: bytes) -> GatedProtocol:
    """A connection whose answers nobody reads."""
    world.app.more = b"x" * 8_000_000
    (await world.wire()).send(data)
    while not (found := world.connections()) or not found[0].flow.write_paused:
        await asyncio.sleep(0.001)
    return found[0]


@pytest.mark.parametrize("late", [0, 1])
def test_answers_that_nobody_reads_hold_no_place(late: int) -> None:
    async def case(world: GateWorld) -> None:
        await _unread(world, request() * (20 - 19 * late))
        await world.until(0)
        for _ in range(late):
            # Now nothing of it is being answered.
            world.wires[0].post()
            await asyncio.sleep(0.02)
            await world.until(0)
        world.app.more = b""
        (other := await world.wire()).post()

        assert (await other.answer()).status == 200
        assert world.gate.singles.refused == 0

    run(case)


@pytest.mark.parametrize(
    "data", [request() * 3, request(b"{}", "/v1/score", "connection: close")], ids=["open", "end"]
)
def test_a_connection_whose_answers_nobody_reads_is_ended(data: bytes) -> None:
    async def case(world: GateWorld) -> None:
        connection = await _unread(world, data)
        now, longest = asyncio.get_running_loop().time(), world.gate.bounds.send_s
        for later in (0.0, longest):
            connection.end_if_slow(now + later)
            await asyncio.sleep(0.01)
            assert world.connections() == [connection]
        connection.end_if_slow(now + longest + 1.0)
        while world.connections():
            await asyncio.sleep(0.001)

    run(case)


def test_who_reads_slowly_is_not_ended() -> None:
    async def case(world: GateWorld) -> None:
        connection = await _unread(world, request())
        now = asyncio.get_running_loop().time()
        connection.end_if_slow(now)
        assert len((await world.wires[0].answer()).body) == 8_000_001
        world.wires[0].post()
        while not connection.flow.write_paused:
            await asyncio.sleep(0.001)
        # It waits again, and not still.
        connection.end_if_slow(now + 1e6)

        assert len((await world.wires[0].answer()).body) == 8_000_001

    run(case)


def test_a_refused_request_whose_body_does_not_come_is_answered_once() -> None:
    async def case(world: GateWorld) -> None:
        world.app.go.clear()
        (await world.wire()).post(BULK)
        while world.gate.bulk.in_flight != 1:
            await asyncio.sleep(0.001)
        late = await world.wire()
        late.send(request(BULK)[:-1])
        first = await late.answer()
        for connection in world.connections():
            connection.end_if_slow(asyncio.get_running_loop().time() + 1e6)

        assert first.status == 429
        assert await late.is_closed()

    run(case)


def test_after_a_refusal_what_cannot_be_a_request_is_still_told() -> None:
    async def case(world: GateWorld) -> None:
        await _filled(world)
        late = await world.wire()
        # The second one goes through the parser.
        for more in ((), ("expect-nothing: upgrade:",)):
            late.post(b"{}", "/v1/score", *more)
            assert (await late.answer()).status == 429
        late.send(b"POST /v1/score HTTP/1.1\r\nContent-Length: x\r\n\r\n")

        assert (await late.answer()).status == 400
        assert await late.is_closed()

    run(case)


def test_bulk_has_places_of_its_own_and_its_refused_body_is_passed_over() -> None:
    async def case(world: GateWorld) -> None:
        world.app.go.clear()
        (first := await world.wire()).post(BULK)
        while world.gate.bulk.in_flight != 1:
            await asyncio.sleep(0.001)
        second = await world.wire()
        whole = request(BULK)
        second.send(whole[:5_000])
        refused = await second.answer()
        second.send(whole[5_000:])
        second.post(b"abc")
        await world.until(1)
        world.app.go.set()

        assert refused.status == 429
        assert (await second.answer()).body == b"3"
        assert (await first.answer()).body == b"20000"
        assert (world.gate.bulk.admitted, world.gate.bulk.refused) == (1, 1)
        assert world.gate.singles.refused == 0

    run(case)


def test_bulk_is_refused_before_the_singles_are() -> None:
    async def case(world: GateWorld) -> None:
        await _filled(world, 9)
        (bulk := await world.wire()).post(BULK)
        (single := await world.wire()).post()
        await world.until(10)

        assert (await bulk.answer()).status == 429
        assert world.gate.singles.refused == 0
        world.app.go.set()
        assert (await single.answer()).status == 200

    run(case, singles=10)


def test_a_body_of_unknown_length_is_bulk() -> None:
    async def case(world: GateWorld) -> None:
        head = b"POST /v1/score HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        (wire := await world.wire()).send(head + b"3\r\nabc\r\n0\r\n\r\n")

        assert (await wire.answer()).body == b"3"
        assert (world.gate.bulk.admitted, world.gate.singles.admitted) == (1, 0)

    run(case)


def test_a_refused_body_that_never_ends_ends_the_connection() -> None:
    async def case(world: GateWorld) -> None:
        world.app.go.clear()
        (await world.wire()).post(BULK)
        while world.gate.bulk.in_flight != 1:
            await asyncio.sleep(0.001)
        wire = await world.wire()
        wire.send(b"POST /v1/score HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        assert (await wire.answer()).status == 429
        piece = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
        for _ in range(11):
            wire.send(piece)

        assert await wire.is_closed()

    run(case)


def test_who_waits_to_continue_is_refused_before_the_body_and_the_connection_ends() -> None:
    async def case(world: GateWorld) -> None:
        inside = await _filled(world)
        late = await world.wire()
        late.send(request(b"", "/v1/score", "expect: 100-continue"))
        refused = await late.answer()
        world.app.go.set()
        for wire in inside:
            await wire.answer()
        patient = await world.wire()
        patient.send(request(b"abc", "/v1/score", "expect: 100-continue")[:-3])
        go_on = await patient.answer()
        patient.send(b"abc")

        assert (refused.status, refused.headers["connection"]) == (429, "close")
        assert await late.is_closed()
        assert go_on.status == 100
        assert (await patient.answer()).body == b"3"

    run(case)


def test_who_reads_no_answers_is_cut_off() -> None:
    async def case(world: GateWorld) -> None:
        await _filled(world)
        wire = await world.wire()
        lost = False
        for _ in range(2_000):
            wire.send(request() * 50)
            try:
                await wire.writer.drain()
            except ConnectionError:
                lost = True
                break
            await asyncio.sleep(0)

        assert lost

    run(case)


@pytest.mark.parametrize(
    ("more", "is_clear"),
    [
        ((), True),
        (("connection: keep-alive",), True),
        (("CONNECTION: Keep-Alive",), True),
        # Each of these leaves a doubt about where the request ends, or its connection.
        (("connection: close",), False),
        (("connection:close",), False),
        (("connection: keep-alive, upgrade",), False),
        (("connection: keep-alive", "Connection : close"), False),
        (("transfer-encoding: chunked",), False),
        (("x: y\nTransfer-Encoding: chunked",), False),
        (("content-length: 3",), False),
        (("x: content-length",), False),
        (("x: y\nz: w",), False),
        (("x: y\rz: w",), False),
        (("Content-Length : 3",), False),
        (("expect: 100-continue",), False),
        (("upgrade: h2c",), False),
    ],
)
def test_only_what_is_clear_is_refused_unparsed(more: tuple[str, ...], is_clear: bool) -> None:
    whole = request(b"{}", "/v1/score", *more)

    assert is_one_request(whole) is is_clear
    assert not is_one_request(whole[:-1])
    assert not is_one_request(whole + b"G")
    assert not is_one_request(whole * 2)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: " + b"0" * 5_000 + b"2\r\n",
        b"x: y\nContent-Length: 9\r\nContent-Length: 2\r\n",
        b"Content-Length:\x0b2\r\n",
    ],
    ids=["long", "hidden", "space"],
)
def test_a_doubtful_length_is_left_to_the_parser(head: bytes) -> None:
    assert not is_one_request(b"POST /v1/score HTTP/1.1\r\n" + head + b"\r\n{}")


def test_two_requests_in_one_packet_are_both_refused() -> None:
    async def case(world: GateWorld) -> None:
        await _filled(world)
        (late := await world.wire()).send(request() * 2)

        assert [(await late.answer()).status for _ in range(2)] == [429, 429]
        assert world.gate.singles.refused == 2

    run(case)


def test_load_is_the_share_of_the_singles_places() -> None:
    gate = Gate(singles=Budget(10), bulk=Budget(1))
    loads = []
    for _ in range(8):
        gate.enter(gate.singles)
        loads.append((gate.load(), gate.is_busy()))

    assert loads[5] == (0.6, False)
    assert loads[6] == (0.7, True)


def test_the_counts_are_shown_as_series() -> None:
    gate = Gate(singles=Budget(1), bulk=Budget(1))
    gate.enter(gate.singles)
    gate.enter(gate.singles)

    shown = {
        (sample.name, sample.labels["kind"]): sample.value
        for family in GateMetrics(gate).collect()
        for sample in family.samples
    }

    assert shown["foresend_gate_admitted_total", "single"] == 1
    assert shown["foresend_gate_refused_total", "single"] == 1
    assert shown["foresend_gate_in_flight", "single"] == 1
    assert shown["foresend_gate_limit", "bulk"] == 1
