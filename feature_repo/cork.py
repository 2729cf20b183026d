"""A transport that writes once per turn of the event loop: head and body of an answer together.

Each write is a call of the operating system, which costs more than making a small answer does.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

MOST_BYTES: Final = 1 << 16
"""So much is written at once, so that the transport can tell when its reader is slow."""


class Cork:
    """In front of a transport; whatever does not write is the transport's own."""

    __slots__ = ("_loop", "_size", "_transport", "_waiting")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write at the end of this turn, or at once when much has gathered."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(data)
        self._size += len(data)
        if self._size > MOST_BYTES:
            self.flush()

    def write_now(self, data: bytes) -> None:
        """Write at once, behind what waits."""
        self.flush()
        self._transport.write(data)

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            data, self._waiting, self._size = b"".join(self._waiting), [], 0
            # The other side may have gone since.
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        """Write what waits, then close."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what waits is lost, as what the transport itself holds is."""
        self._waiting = []
        self._transport.abort()
