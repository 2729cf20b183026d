"""What a worker and its parent say to each other: JSON lines over a pair of sockets.

The end of the line is said too: a worker whose parent is gone leaves.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, TypeAlias

import msgspec
import structlog

_LONGEST_LINE: Final = 1 << 26


class Begin(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Parent: what the worker is. The first line."""

    #: The installation's settings as JSON; they hold secrets, so they are no argument.
    settings: str
    listening: int
    number: int
    workers: int
    insecure_local: bool
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None


class Loaded(msgspec.Struct, tag=True, frozen=True):
    """Worker: loaded, and waiting for `Accept`."""


class Accept(msgspec.Struct, tag=True, frozen=True):
    """Parent: take connections."""


class State(msgspec.Struct, tag=True, frozen=True):
    """Worker, twice a second: alive, and whether it is ready."""

    ready: bool


class AskSeries(msgspec.Struct, tag=True, frozen=True):
    """Worker: somebody asked for metrics; those of all workers are wanted."""

    ask: int


class AskOwn(msgspec.Struct, tag=True, frozen=True):
    """Parent: your own metrics are wanted."""

    ask: int


class Series(msgspec.Struct, tag=True, frozen=True):
    """Either: the metrics that were asked for, in Prometheus' text format."""

    ask: int
    text: str


Message: TypeAlias = Begin | Loaded | Accept | State | AskSeries | AskOwn | Series

log = structlog.get_logger()

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """The message as one line."""
    return _encoder.encode(message) + b"\n"


def decode(line: bytes) -> Message:
    """The message of a line."""
    return _decoder.decode(line)


class Line:
    """One end of the line, in an event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, end: socket.socket) -> Line:
        """The line over a connected socket, which it then owns."""
        end.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_LONGEST_LINE))

    def say(self, message: Message) -> None:
        """Send a message; nothing happens when the other end is gone."""
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    async def heard(self) -> AsyncIterator[Message]:
        """Messages of the other end, until it is gone.

        A line that is none is passed over: the last one of a killed process may be half a line.
        """
        with suppress(ConnectionError):
            while line := await self._read():
                try:
                    message = decode(line)
                except (msgspec.DecodeError, ValueError):
                    log.warning("line_unreadable", length=len(line))
                else:
                    yield message

    async def _read(self) -> bytes:
        try:
            return await self._reader.readline()
        except ValueError:
            # It was longer than the longest, and is dropped.
            return b"\n"

    async def flush(self) -> None:
        """Wait until what was said is on its way."""
        with suppress(ConnectionError):
            await self._writer.drain()

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
