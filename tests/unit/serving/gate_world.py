"""A real uvicorn over an application that answers when the test says so, and raw connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from feature_repo.listening import Manners, Server
from serving.admission.gate import Budget, Gate
from serving.admission.gated import GatedProtocol, gate_protocol


class SlowApp:
    """Reads the body, waits until it may go on, and says how many bytes there were."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.started = 0
        self.paths: list[str] = []
        #: Comes behind the number in the answer.
        self.more = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        self.started += 1
        self.paths.append(scope["path"])
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            more = message["more_body"]
        await self.go.wait()
        body = str(size).encode() + self.more
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Wire:
    """A connection on which anything can be sent."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def post(self, body: bytes = b"{}", path: str = "/v1/score", *headers: str) -> None:
        self.send(request(body, path, *headers))

    async def answer(self) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = head.split("\r\n")
        headers = dict(item.lower().split(": ", 1) for item in rest if item)
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(line.split()[1]), headers, body)

    async def is_closed(self) -> bool:
        """Waits for the other end to close; False when it says something instead."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True


def request(body: bytes = b"{}", path: str = "/v1/score", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class GateWorld:
    app: SlowApp
    gate: Gate
    server: Server
    address: tuple[str, int]
    wires: list[Wire] = field(default_factory=list)

    async def wire(self) -> Wire:
        self.wires.append(made := Wire(*await asyncio.open_connection(*self.address)))
        return made

    def connections(self) -> list[GatedProtocol]:
        """The server's ends of them."""
        return list(self.server.server_state.connections)

    async def until(self, in_flight: int) -> None:
        """Wait until so many small requests are in hand."""
        while self.gate.singles.in_flight != in_flight:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def gated(*, singles: int = 2, bulk: int = 1, **manners: Any) -> AsyncIterator[GateWorld]:
    """A running server; everything on it is ended at the end."""
    gate = Gate(singles=Budget(singles), bulk=Budget(bulk), swallow_bytes=100_000)
    app = SlowApp()
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    more = {"shutdown_s": 5.0, "farewell_s": 0.3, "bounds": gate.bounds, **manners}
    config = uvicorn.Config(
        app, http=gate_protocol(gate), ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = Server(config, listening, Manners(**more), stopping=lambda: False)
    serving = asyncio.create_task(server._serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.001)
    world = GateWorld(app, gate, server, address)
    try:
        async with asyncio.timeout(30):
            yield world
    finally:
        app.go.set()
        for wire in world.wires:
            wire.writer.close()
        server.should_exit = True
        await serving
        server.cancel_force()
