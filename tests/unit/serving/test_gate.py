"""The gate in front of score requests, on a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from serving.admission.gate import Budget, Gate, GateMetrics
from serving.admission.gated import is_one_request
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
        wire.send(b"".join(request(b"x" * size) for size in (1, 2, 3, 4)))
        while world.gate.singles.refused < 2:
            await asyncio.sleep(0.001)
        world.app.go.set()
        answers = [await wire.answer() for _ in range(4)]

        assert [answer.status for answer in answers] == [200, 200, 429, 429]
        assert [answer.body for answer in answers[:2]] == [b"1", b"2"]
        assert answers[2].headers["x-content-type-options"] == "nosniff"
        assert json.loads(answers[2].body)["status"] == 429
        wire.post(b"12345")
        assert (await wire.answer()).body == b"5"

    run(case)


def test_a_lost_connection_gives_back_the_places_of_what_waited_on_it() -> None:
    async def case(world: GateWorld) -> None:
        world.app.go.clear()
        wire = await world.wire()
        wire.send(request() * 3)
        await world.until(3)
        wire.writer.transport.abort()
        # The one that runs keeps its place until it ends; those behind it never run.
        await world.until(1)
        world.app.go.set()
        await world.until(0)

        assert world.app.started == 1

    run(case, singles=5)


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
