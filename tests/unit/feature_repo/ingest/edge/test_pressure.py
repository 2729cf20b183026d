"""When deliveries are refused, and what readiness says."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
import structlog

from tests.unit.feature_repo.ingest.edge.conftest import SIGNED, Ingest
from tests.unit.feature_repo.ingest.raw.test_raw_store import full_disk

MakeIngest = Callable[..., Ingest]
BODY = b'["a"]'


def fill_queue(ingest: Ingest) -> None:
    ingest.queue.full = 0.99


def land_much(ingest: Ingest) -> None:
    ingest.post("sendgrid", orjson.dumps([f"{number**5}" for number in range(300)]))


def lose_folder(ingest: Ingest) -> None:
    shutil.rmtree(ingest.store.folder)


@pytest.mark.parametrize(
    ("settings", "trouble", "cause"),
    [
        ({}, fill_queue, "queue"),
        ({"max_backlog_bytes": 500}, land_much, "backlog"),
        ({"min_free_bytes": 2**62}, lambda _: None, "disk"),
        ({}, lose_folder, "disk"),
    ],
)
def test_under_pressure_deliveries_are_503_and_readiness_says_why(
    make_ingest: MakeIngest,
    settings: dict[str, Any],
    trouble: Callable[[Ingest], None],
    cause: str,
) -> None:
    ingest = make_ingest(**settings)
    trouble(ingest)
    ingest.pressure.look()
    before = ingest.landed()

    answer = ingest.post("sendgrid", BODY)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "10"
    assert answer.headers["content-type"] == "application/problem+json"
    assert ingest.landed() == before
    ready = ingest.ask("GET", "/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "not_ready")
    assert answer.json()["detail"].startswith(ready.json()["reasons"][0])
    assert f'foresend_ingest_refusing{{cause="{cause}"}} 1.0' in ingest.ask("GET", "/metrics").text


def test_deliveries_are_taken_again_when_the_pressure_is_gone(ingest: Ingest) -> None:
    fill_queue(ingest)
    ingest.pressure.look()
    assert ingest.post("sendgrid", BODY).status_code == 503

    ingest.queue.full = 0.5
    ingest.pressure.look()

    assert ingest.post("sendgrid", BODY).status_code == 200


def test_a_queue_that_does_not_answer_degrades_and_refuses_nothing(ingest: Ingest) -> None:
    ingest.queue.is_away = True
    ingest.pressure.look()

    assert ingest.post("sendgrid", BODY).status_code == 200
    ready = ingest.ask("GET", "/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["reasons"] == ["The queue does not answer."]


def test_a_full_disk_is_a_503_and_deliveries_are_taken_when_it_has_room(ingest: Ingest) -> None:
    assert ingest.post("sendgrid", b'["before"]').status_code == 200
    # The log of this test is a file too.
    with structlog.testing.capture_logs(), full_disk():
        answer = ingest.post("sendgrid", b'["during"]')
    ingest.pressure.look()
    full = ingest.ask("GET", "/readyz").json()
    metrics = ingest.ask("GET", "/metrics").text

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "10"
    assert (full["status"], len(full["reasons"])) == ("degraded", 1)
    assert 'foresend_ingest_refusing{cause="disk"} 1.0' in metrics
    assert ingest.post("sendgrid", b'["after"]').status_code == 200
    assert ingest.ask("GET", "/readyz").json()["status"] == "ready"
    assert ingest.landed() == [b'["before"]', b'["after"]']


def test_more_deliveries_than_may_be_in_hand_are_503(make_ingest: MakeIngest) -> None:
    ingest = make_ingest(max_in_flight=2)

    async def scenario() -> list[int]:
        go_on = asyncio.Event()

        async def slow() -> Any:
            yield b"["
            await go_on.wait()
            yield b"]"

        async with ingest.client() as client:

            async def post(content: Any) -> httpx.Response:
                return await client.post("/ingest/sendgrid", content=content, headers=SIGNED)

            held = [asyncio.create_task(post(slow())) for _ in range(2)]
            while ingest.app.edge.admission.requests < 2:
                await asyncio.sleep(0)
            third = await post(BODY)
            go_on.set()
            first = [(await task).status_code for task in held]
            return [third.status_code, *first, (await post(BODY)).status_code]

    assert asyncio.run(scenario()) == [503, 200, 200, 200]


def test_bytes_in_hand_are_bounded(make_ingest: MakeIngest) -> None:
    ingest = make_ingest(max_in_flight_bytes=5)

    async def scenario() -> list[int]:
        go_on = asyncio.Event()

        async def slow() -> Any:
            yield b'["abcdef"'
            await go_on.wait()
            yield b"]"

        async with ingest.client() as client:

            async def post(content: Any) -> httpx.Response:
                return await client.post("/ingest/sendgrid", content=content, headers=SIGNED)

            held = asyncio.create_task(post(slow()))
            while ingest.app.edge.admission.bytes < 5:
                await asyncio.sleep(0)
            second = await post(BODY)
            go_on.set()
            return [second.status_code, (await held).status_code, (await post(BODY)).status_code]

    assert asyncio.run(scenario()) == [503, 200, 200]


def test_a_stopping_server_is_alive_and_not_ready(ingest: Ingest) -> None:
    assert ingest.app.state.health.stop() is False
    assert ingest.app.state.health.stop() is True

    assert ingest.ask("GET", "/healthz").status_code == 200
    assert ingest.ask("GET", "/readyz").json()["reasons"] == ["The server is stopping."]


def test_a_server_whose_mapper_ended_asks_for_a_restart(ingest: Ingest) -> None:
    assert ingest.ask("GET", "/healthz").status_code == 200
    ingest.mapper.start()
    ingest.mapper.finish(10)

    assert ingest.ask("GET", "/healthz").status_code == 503
    assert ingest.ask("GET", "/readyz").status_code == 503


def test_the_application_maps_and_drains_through_its_whole_life(ingest: Ingest) -> None:
    async def life() -> int:
        async with ingest.app.router.lifespan_context(ingest.app), ingest.client() as client:
            answer = await client.post("/ingest/sendgrid", content=b'["a"]', headers=SIGNED)
            return answer.status_code

    assert asyncio.run(life()) == 200
    assert ingest.queue.words() == ["a"]
    assert ingest.store.owned() == []
    assert ingest.store.adopt(lambda _: False) != []
