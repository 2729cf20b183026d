"""What the scoring route costs of a processor, without scores: from the ASGI call to the last send.

In one process and one run: our route before a service that answers at once, the same request to
a FastAPI route with pydantic models that does nothing, and to an ASGI application that sends back
what it gets.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feature_repo import api_keys
from serving.admission.keys import Doorkeeper
from serving.answers import Answer, ModelAnswer, PlacementAnswer, ScoreAnswer
from serving.asks import Ask
from serving.http.access import AccessLog
from serving.http.route import PATH, ScoreRoute
from serving.http.series import HttpSeries
from serving.schemas import ScoreRequest
from serving.settings import ServingSettings

REQUESTS: Final = 5_000
REPEATS: Final = 7

_BODY: Final = b'{"target":"purchase_30d","customers":[{"customer_id":"customer-0001234"}]}'


class _Nothing(BaseModel):
    """The answer of the route that does nothing."""

    target: str
    score: float


class _AtOnce:
    """A service that has the answer already."""

    def __init__(self) -> None:
        moment = "2026-11-24T07:30:00Z"
        placement = PlacementAnswer(0.97, 0.04, None)
        self._model = ModelAnswer("purchase_30d", "3", "9f2c0c1e6b7d4a54a1f0a6f9e3c1b2d4", moment)
        self._score = ScoreAnswer(
            "customer-0001234", 0.0731, "medium", "3", False, moment, 48436.0, placement, None, None
        )

    async def score(self, ask: Ask) -> Answer:
        """The same for everybody."""
        moment = "2026-11-24T07:30:00Z"
        return Answer(ask.request_id, ask.target, moment, self._model, None, [self._score])


def run(workdir: Path, requests: int = REQUESTS) -> dict[str, Any]:
    """Microseconds of CPU a request, of ours and of the route that does nothing."""
    keys = api_keys.KeyFile(workdir / "keys.json")
    _, secret = keys.add("bench", [api_keys.Scope.SCORE], clock=lambda: datetime.now(UTC))
    apps: dict[str, ASGIApp] = {"ours": _ours(keys), "fastapi": _empty(), "echo": _echo}
    scope = _scope(secret)
    seen: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(REPEATS):
        # In turn, so that what else the machine does falls on all of them.
        for name, app in apps.items():
            seen[name].append(asyncio.run(_cpu_us(app, scope, requests)))
    us = {name: statistics.median(values) for name, values in seen.items()}
    return {
        "ours": us["ours"],
        "baseline": us["fastapi"],
        "ratio": us["fastapi"] / us["ours"],
        "unit": "us of CPU/request",
        "echo_us": round(us["echo"], 2),
        "best_us": round(min(seen["ours"]), 2),
    }


def _ours(keys: api_keys.KeyFile) -> ASGIApp:
    limits = ServingSettings()
    app = FastAPI()
    app.add_middleware(
        ScoreRoute,
        service=_AtOnce(),
        doorkeeper=Doorkeeper(keys, workers=1),
        access=AccessLog(HttpSeries(), share=0.0, slow_s=limits.access_log_slow_s),
        max_body_bytes=limits.max_body_bytes,
    )
    return app


def _empty() -> ASGIApp:
    app = FastAPI()

    @app.post(PATH)
    async def nothing(asked: ScoreRequest) -> _Nothing:
        return _Nothing(target=asked.target, score=0.0731)

    return app


async def _echo(_: Scope, receive: Receive, send: Send) -> None:
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def _cpu_us(app: ASGIApp, scope: Scope, requests: int) -> float:
    statuses = set()

    async def receive() -> Message:
        return {"type": "http.request", "body": _BODY, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.add(message["status"])

    await app({**scope, "state": {}}, receive, send)
    started = time.process_time()
    for _ in range(requests):
        await app({**scope, "state": {}}, receive, send)
    spent = time.process_time() - started
    if statuses != {200}:
        message = f"A request was answered with {sorted(statuses)}, so nothing was measured."
        raise RuntimeError(message)
    return spent / requests * 1e6


def _scope(secret: str) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "root_path": "",
        "query_string": b"",
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 40000),
        "headers": [
            (b"host", b"127.0.0.1:8080"),
            (b"user-agent", b"bench"),
            (b"accept", b"*/*"),
            (b"content-type", b"application/json"),
            (b"authorization", f"Bearer {secret}".encode()),
            (b"content-length", str(len(_BODY)).encode()),
        ],
    }
