"""A Redis in this process that can be told to misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import hiredis


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


@dataclass
class FakeRedis:
    """Answers a few commands as Redis does, or what a test makes of them."""

    #: None: nothing is said to the command.
    answer: Callable[[list[bytes]], bytes | None]
    port: int = 0
    seen: list[list[bytes]] = field(default_factory=list)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        parser = hiredis.Reader()
        try:
            while data := await reader.read(1 << 16):
                parser.feed(data)
                while (words := parser.gets()) is not False:
                    self.seen.append(words)
                    writer.write(self.answer(words) or b"")
        except ConnectionError:
            pass
        finally:
            writer.close()

    def hang_up(self) -> None:
        """Close all connections."""
        for writer in self.writers:
            writer.transport.abort()


def polite(words: list[bytes]) -> bytes:
    """What an empty Redis says; GET tells the key."""
    match words[0]:
        case b"PING":
            return b"+PONG\r\n"
        case b"ECHO" | b"GET":
            return bulk(words[1])
        case b"HGETALL":
            return b"*0\r\n"
        case _:
            return b"+OK\r\n"


def loading(words: list[bytes]) -> bytes:
    """What Redis says while it reads its file."""
    return b"-LOADING Redis is loading the dataset in memory\r\n"


def mute(words: list[bytes]) -> None:
    """A Redis that is frozen."""


@asynccontextmanager
async def running(fake: FakeRedis) -> AsyncIterator[FakeRedis]:
    server = await asyncio.start_server(fake.serve, "127.0.0.1", fake.port)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        fake.hang_up()
        await server.wait_closed()
        await asyncio.sleep(0.01)
