"""Large requests go in small chunks, a few at a time, and give way to small ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serving.bulk import CHUNK, IN_FLIGHT, BulkLane
from serving.errors import DeadlineExceeded
from tests.unit.serving.conftest import NOW, TARGET
from tests.unit.serving.service_fakes import Bench, ask_of, scores_of, turns


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_large_request_is_read_in_chunks_and_answered_in_its_order(bench: Bench) -> None:
    customers = list(range(1000))[::-1]

    answer = asyncio.run(bench.service.score(ask_of(*customers)))

    assert scores_of(answer) == [i / 10_000 for i in customers]
    whole, rest = divmod(1000, CHUNK)
    assert bench.store.reads == [(CHUNK, True)] * whole + [(rest, True)]
    assert bench.value("foresend_prediction_log_queue_rows") == 1000.0


def test_65_customers_are_large_and_64_are_not(bench: Bench) -> None:
    asyncio.run(bench.service.score(ask_of(*range(64))))
    asyncio.run(bench.service.score(ask_of(*range(65))))

    assert bench.store.reads == [(64, False), (CHUNK, True), (65 - CHUNK, True)]


def test_all_large_requests_together_have_so_many_chunks_under_way(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        asked = [range(100), range(100, 300), range(300, 500)]
        tasks = [asyncio.create_task(bench.service.score(ask_of(*one))) for one in asked]
        most = 0
        while not all(task.done() for task in tasks):
            await turns(3)
            most = max(most, bench.store.under_way)
            if bench.store.under_way:
                bench.store.let_go()
        assert most == IN_FLIGHT
        results = await asyncio.gather(*tasks)
        assert [scores_of(r) for r in results] == [[i / 10_000 for i in one] for one in asked]

    asyncio.run(run())


def test_a_small_request_is_answered_between_the_chunks_of_a_large_one(bench: Bench) -> None:
    async def run() -> None:
        large = asyncio.create_task(bench.service.score(ask_of(*range(1000))))
        await turns(5)
        before = len(bench.store.reads)
        assert scores_of(await bench.service.score(ask_of(7))) == [0.0007]
        between = len(bench.store.reads) - before
        assert not large.done()
        assert between <= 1 + 2 * IN_FLIGHT
        await large

    asyncio.run(run())


def test_a_large_request_gives_way_for_some_turns_and_not_for_ever() -> None:
    async def run(is_clear: bool) -> int:
        seen: list[int] = []
        turn = 0

        async def chunk() -> None:
            seen.append(turn)

        lane = BulkLane(lambda: is_clear)
        running = asyncio.create_task(lane.run([chunk] * (IN_FLIGHT + 1)))
        while not running.done():
            turn += 1
            await asyncio.sleep(0)
        return seen[-1] - seen[0]

    assert asyncio.run(run(is_clear=True)) == 1
    assert asyncio.run(run(is_clear=False)) == 8


def test_a_chunk_that_fails_ends_the_request_and_frees_its_places(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        task = asyncio.create_task(bench.service.score(ask_of(*range(500))))
        await turns()
        bench.store.broken = RuntimeError("broken")
        bench.store.let_go()
        with pytest.raises(RuntimeError, match="broken"):
            await task
        bench.store.broken = None
        if bench.store.under_way:
            bench.store.let_go()
        await turns(40)
        assert len(bench.store.reads) == IN_FLIGHT
        bench.store.held = False
        assert len((await bench.service.score(ask_of(*range(100)))).scores) == 100

    asyncio.run(run())


def test_a_caller_who_has_gone_ends_the_request_and_frees_its_places(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        gone = asyncio.create_task(bench.service.score(ask_of(*range(500))))
        await turns()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert len(bench.store.reads) == IN_FLIGHT
        bench.store.held = False
        assert len((await bench.service.score(ask_of(*range(100)))).scores) == 100

    asyncio.run(run())


def test_a_large_request_is_given_up_when_its_deadline_passes(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        task = asyncio.create_task(bench.service.score(ask_of(*range(500), deadline=5.0)))
        await turns()
        bench.seconds = 5.0
        bench.store.let_go()
        with pytest.raises(DeadlineExceeded):
            await task
        assert len(bench.store.reads) == IN_FLIGHT

    asyncio.run(run())


def test_of_a_large_request_that_is_given_up_nothing_is_kept(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        task = asyncio.create_task(bench.service.score(ask_of(*range(200), deadline=5.0)))
        await turns()
        # Some chunks are scored, and then it is too late for the others.
        bench.store.let_go()
        await turns()
        bench.seconds = 5.0
        while not task.done():
            if bench.store.under_way:
                bench.store.let_go()
            await turns()
        with pytest.raises(DeadlineExceeded):
            await task
        assert len(bench.store.reads) > IN_FLIGHT
        assert bench.value("foresend_prediction_log_queue_rows") == 0.0
        assert bench.value("foresend_scored_rows_total", target=TARGET) == 0.0
        assert bench.service.last_scores.get(TARGET, ["c-0", "c-1"]) == [None, None]

    asyncio.run(run())


def test_a_large_request_is_logged_counted_and_remembered_once(bench: Bench) -> None:
    asyncio.run(bench.service.score(ask_of(*range(200))))

    assert bench.value("foresend_prediction_log_queue_rows") == 200.0
    assert bench.value("foresend_scored_rows_total", target=TARGET) == 200.0
    assert None not in bench.service.last_scores.get(TARGET, [f"c-{i}" for i in range(200)])


def test_a_store_that_goes_away_degrades_the_rest_of_a_large_request(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        task = asyncio.create_task(bench.service.score(ask_of(*range(3 * CHUNK))))
        await turns()
        bench.store.let_go()
        await turns()
        bench.store.down = "gone"
        while bench.store.under_way:
            bench.store.let_go()
            await turns()
        causes = [row.degraded and row.degraded.cause for row in (await task).scores]
        assert causes == [None] * CHUNK + ["store_unavailable"] * (2 * CHUNK)

    asyncio.run(run())


def test_all_chunks_are_of_one_moment(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        task = asyncio.create_task(bench.service.score(ask_of(*range(96))))
        await turns()
        bench.clock.now = NOW.replace(hour=13)
        while not task.done():
            if bench.store.under_way:
                bench.store.let_go()
            await turns()
        answer = await task
        assert answer.send_at == "2026-11-24T12:00:00Z"
        assert [row.age_s for row in answer.scores] == [float(i) for i in range(96)]

    asyncio.run(run())
