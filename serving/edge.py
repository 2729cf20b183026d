"""What surrounds the requests of all routes but the scoring one: their id, their size limit, their
measurement and their log line. The scoring route has its own (serving/http/route.py)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import BodyTooLarge
from serving.http.access import AccessLog
from serving.http.heads import SECURITY, announced_bytes, head_of, request_id


class Edge:
    """ASGI middleware around the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: AccessLog,
        routes: Set[str],
        max_body_bytes: int,
        larger: Mapping[str, int],
    ) -> None:
        """`routes`: paths that are counted apart. `larger`: roots of paths that are counted
        together, and the bytes that bodies may have there in place of `max_body_bytes`."""
        self._app = app
        self._access = access
        self._routes = routes
        self._max_body_bytes = max_body_bytes
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request; anything but HTTP is passed through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = head_of(scope["headers"])
        asked_as = request_id(head)
        route = self._route(scope["path"])
        scope.setdefault("state", {})["request_id"] = asked_as
        status = 500
        started = time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                named = (b"x-request-id", asked_as.encode())
                message = {**message, "headers": [*message.get("headers", ()), named, *SECURITY]}
            await send(message)

        limit = self._larger.get(route, self._max_body_bytes)
        with structlog.contextvars.bound_contextvars(request_id=asked_as):
            try:
                await self._app(scope, _limited(receive, announced_bytes(head), limit), answer)
            finally:
                self._access.told(route, status, time.perf_counter() - started, asked_as)

    def _route(self, path: str) -> str:
        """What the path is counted as."""
        if path in self._routes or path in self._larger:
            return path
        return next((root for root in self._larger if path.startswith(f"{root}/")), "other")


def _limited(receive: Receive, announced: int, limit: int) -> Receive:
    """The request's body, refused when it is announced too large or grows too large."""
    seen = 0

    async def receive_some() -> Message:
        nonlocal seen
        message: Message = {} if announced > limit else await receive()
        seen += len(message.get("body", b""))
        if announced > limit or seen > limit:
            detail = f"The body has more than {limit} bytes. Send less at a time."
            # The rest of the body is not read, so the connection cannot be used again.
            raise BodyTooLarge(detail, headers={"Connection": "close"})
        return message

    return receive_some


def request_id_of(scope: Scope) -> str:
    """The id of the request, also where the middleware did not run."""
    state: dict[str, Any] = scope.get("state", {})
    return str(state.get("request_id", ""))
