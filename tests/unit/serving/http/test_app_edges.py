"""What surrounds all routes of the application: headers, ids, limits, log lines."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from serving.edge import Edge
from serving.errors import BodyTooLarge
from serving.http.access import AccessLog
from serving.http.series import HttpSeries
from serving.settings import ServingSettings
from tests.unit.serving.conftest import World, ask

PATHS = ["/v1/score", "/healthz", "/readyz", "/metrics", "/openapi.json", "/nowhere", "/v1/score/"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_an_id_and_is_neither_guessed_at_nor_kept(
    world: World, path: str, method: str
) -> None:
    with world.client() as client:
        answer = client.send(method, path)

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.headers["x-request-id"]) == 32


def test_a_mistake_of_ours_has_the_same_headers(world: World) -> None:
    with world.client() as client:
        world.store.customers["ann"] = {"opens_30d": "not a number"}
        answer = client.post("/v1/score", json=ask("ann"))

    assert answer.status_code == 500
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers.get_list("x-request-id") == [answer.json()["request_id"]]


def test_good_answers_are_logged_by_their_share_and_name_no_customer(world: World) -> None:
    world.settings = ServingSettings(access_log_share=1.0)
    with world.client() as client, capture_logs() as lines:
        client.post("/v1/score", json=ask("ann"), headers={"x-request-id": "r-7"})
        client.get("/healthz")

    said = [line for line in lines if line["event"] == "request_answered"]
    assert [(line["route"], line["request_id"]) for line in said] == [("/v1/score", "r-7")]
    assert "ann" not in str(lines)


@pytest.mark.parametrize(
    ("path", "size", "status", "route"),
    [
        ("/v1/audience", 20, 200, "/v1/audience"),
        ("/v1/audience/j-1/result", 21, 413, "/v1/audience"),
        ("/v1/audiences", 11, 413, "other"),
        ("/healthz", 10, 200, "/healthz"),
    ],
)
def test_a_segment_may_be_larger_than_other_bodies(
    path: str, size: int, status: int, route: str
) -> None:
    async def swallow(request: Request) -> Response:
        return Response(status_code=413 if await was_too_large(request) else 200)

    async def was_too_large(request: Request) -> bool:
        try:
            await request.body()
        except BodyTooLarge:
            return True
        return False

    series = HttpSeries()
    app = Edge(
        Starlette(routes=[Route("/{path:path}", swallow, methods=["POST"])]),
        access=AccessLog(series, share=0.0, slow_s=60.0),
        routes={"/healthz"},
        max_body_bytes=10,
        larger={"/v1/audience": 20},
    )

    async def post() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.post(path, content=b" " * size)).status_code

    assert asyncio.run(post()) == status
    answers, _ = series.collect()
    assert [sample.labels for sample in answers.samples] == [
        {"route": route, "status": str(status)}
    ]


def test_reasons_are_given_when_asked_for(world: World) -> None:
    with world.client() as client:
        none = client.post("/v1/score", json=ask("ann"))
        many = client.post("/v1/score", json=ask("ann", reasons=21))
        some = client.post("/v1/score", json=ask("ann", reasons=2))

    assert none.json()["scores"][0]["reasons"] is None
    assert many.status_code == 422
    assert "reasons: input should be less than or equal to 20" in many.json()["detail"]
    assert some.status_code == 200
