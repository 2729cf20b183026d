"""What surrounds every request: its id, its size limit, its measurement and its log line."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import BodyTooLarge
from serving.metrics import Metrics

HEADER: Final = "X-Request-Id"
_GIVEN_ID: Final = re.compile(rb"[A-Za-z0-9_.:-]{1,64}")
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)

log = structlog.get_logger()


class Edge:
    """ASGI middleware around the whole application."""

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, routes: frozenset[str], max_body_bytes: int
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request; anything but HTTP is passed through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500
        started = time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                named = (HEADER.lower().encode(), request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), named, *_HEADERS]}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, self._limited(scope, receive), answer)
            finally:
                self._measure(scope, status, time.perf_counter() - started)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """The request's body, refused when it is announced too large or grows too large."""
        limit, seen = self._max_body_bytes, 0
        announced = _header(scope, b"content-length") or b"0"
        too_large = announced.isdigit() and int(announced) > limit

        async def receive_some() -> Message:
            nonlocal seen
            message: Message = {} if too_large else await receive()
            seen += len(message.get("body", b""))
            if too_large or seen > limit:
                detail = f"The body has more than {limit} bytes. Send fewer customers at a time."
                # The rest of the body is not read, so the connection cannot be used again.
                raise BodyTooLarge(detail, headers={"Connection": "close"})
            return message

        return receive_some

    def _measure(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"]
        route = path if path in self._routes else "other"
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        # Probes come every few seconds and metrics tell of them.
        if route == "/v1/score" or status >= 500 or route == "other":
            log.info("request_answered", route=route, status=status, ms=round(seconds * 1e3, 2))


def request_id_of(scope: Scope) -> str:
    """The id of the request, also where the middleware did not run."""
    state: dict[str, Any] = scope.get("state", {})
    return str(state.get("request_id", ""))


def _request_id(scope: Scope) -> str:
    given = _header(scope, HEADER.lower().encode())
    if given is not None and _GIVEN_ID.fullmatch(given):
        return given.decode()
    return uuid.uuid4().hex


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None
