"""One of several server processes: `python -m serving.admission.worker FD`, started by its parent.

It opens everything itself, says so, takes connections when it is told to, and leaves on SIGTERM or
when its parent is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feature_repo.listening import Tls
from feature_repo.logs import configure_logs
from feature_repo.settings import Settings
from serving.admission.channel import (
    Accept,
    AskOwn,
    AskSeries,
    Begin,
    Line,
    Loaded,
    Series,
    State,
    decode,
)
from serving.admission.child import LAST_SERIES
from serving.server import answer_on, open_app, open_gate
from serving.settings import load_serving_settings

STATE_EVERY_S: Final = 0.5
SERIES_WAIT_S: Final = 3.0
"""A parent that does not give the series of all workers in this time: the own ones are shown."""

log = structlog.get_logger()


class WorkerApp:
    """The application, which takes connections when the parent says so and shows its metrics."""

    def __init__(self, app: ASGIApp, end: socket.socket) -> None:
        self._app = app
        self._end = end
        self._line: Line | None = None
        self._may_accept = asyncio.Event()
        self._asks = itertools.count()
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; `/metrics` are those of all workers."""
        if scope["type"] == "http" and scope["path"] == "/metrics":
            send = self._with_series(scope, send)
        elif scope["type"] == "lifespan":
            send = self._when_told(send)
        await self._app(scope, receive, send)

    def _when_told(self, send: Send) -> Send:
        async def after(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._line = line = await Line.over(self._end)
                line.say(Loaded())
                self._tasks = [
                    asyncio.create_task(self._listen(line)),
                    asyncio.create_task(self._tell_state(line)),
                ]
                await self._may_accept.wait()
            elif message["type"] == "lifespan.shutdown.complete":
                await self._say_goodbye()
            await send(message)

        return after

    async def _say_goodbye(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._line is not None:
            _, body = await inside(self._app, "/metrics")
            self._line.say(Series(LAST_SERIES, body.decode()))
            await self._line.flush()

    async def _listen(self, line: Line) -> None:
        async for message in line.heard():
            if isinstance(message, Accept):
                self._may_accept.set()
            elif isinstance(message, AskOwn):
                _, body = await inside(self._app, "/metrics")
                line.say(Series(message.ask, body.decode()))
            elif isinstance(message, Series):
                waiting = self._waiting.pop(message.ask, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message.text)
        log.error("parent_gone")
        self._may_accept.set()
        os.kill(os.getpid(), signal.SIGTERM)

    async def _tell_state(self, line: Line) -> None:
        while True:
            status, _ = await inside(self._app, "/readyz")
            line.say(State(status == 200))
            await asyncio.sleep(STATE_EVERY_S)

    def _with_series(self, scope: Scope, send: Send) -> Send:
        """Put the series of all workers in place of the own ones, if they can be had."""
        start: Message = {}

        async def replaced(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            text = await self._series() if start["status"] == 200 else None
            if text is not None:
                body = b"" if scope["method"] == "HEAD" else text.encode()
                headers = [
                    (name, str(len(body)).encode() if name.lower() == b"content-length" else value)
                    for name, value in start["headers"]
                ]
                start, message = {**start, "headers": headers}, {**message, "body": body}
            await send(start)
            await send(message)

        return replaced

    async def _series(self) -> str | None:
        if self._line is None:
            return None
        ask = next(self._asks)
        self._waiting[ask] = asyncio.get_running_loop().create_future()
        self._line.say(AskSeries(ask))
        try:
            async with asyncio.timeout(SERIES_WAIT_S):
                return await self._waiting[ask]
        except TimeoutError:
            self._waiting.pop(ask, None)
            log.warning("metrics_of_one_worker_only")
            return None


async def inside(app: ASGIApp, path: str) -> tuple[int, bytes]:
    """Status and body of a GET that does not come over the network."""
    status, body = 0, bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        body.extend(message.get("body", b""))

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "server": None,
        "client": None,
        "state": {},
    }
    await app(scope, receive, send)
    return status, bytes(body)


def main() -> None:
    """Run one worker."""
    # Ctrl-C is for the parent, which stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end = socket.socket(fileno=int(sys.argv[1]))
    begin = decode(end.makefile("rb").readline())
    assert isinstance(begin, Begin)
    configure_logs()
    structlog.contextvars.bind_contextvars(worker=begin.number)
    settings = Settings.model_validate_json(begin.settings)
    limits = load_serving_settings()
    gate = open_gate(limits)
    app = open_app(
        settings, limits, insecure_local=begin.insecure_local, gate=gate, workers=begin.workers
    )
    tls = None
    if begin.tls_cert is not None and begin.tls_key is not None:
        client_ca = None if begin.tls_client_ca is None else Path(begin.tls_client_ca)
        tls = Tls(cert=Path(begin.tls_cert), key=Path(begin.tls_key), client_ca=client_ca)
    answer_on(
        WorkerApp(app, end),
        socket.socket(fileno=begin.listening),
        limits,
        gate,
        stopping=app.state.health.stop,
        tls=tls,
        is_shared=True,
    )


if __name__ == "__main__":
    main()
