"""Large requests in small chunks that give way to the others between two chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

CHUNK: Final = 64
"""Customers of one chunk: scoring one delays others by three milliseconds."""

IN_FLIGHT: Final = 1
"""Chunks of all large requests together that are read or scored at a time. With two, single
requests beside them waited half as long again."""

_MOST_TURNS: Final = 8


class BulkLane:
    """Runs chunks of large requests, a few at a time. Belongs to one event loop."""

    def __init__(self, is_clear: Callable[[], bool]) -> None:
        """`is_clear` says whether no small request waits."""
        self._is_clear = is_clear
        self._room = asyncio.Semaphore(IN_FLIGHT)

    async def run(self, chunks: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """Run all chunks, in any order; the first failure ends it and is raised."""
        left = iter(chunks)
        runners = [asyncio.create_task(self._follow(left)) for _ in chunks[:IN_FLIGHT]]
        try:
            await asyncio.gather(*runners)
        finally:
            for runner in runners:
                runner.cancel()

    async def _follow(self, left: Iterator[Callable[[], Awaitable[None]]]) -> None:
        for chunk in left:
            async with self._room:
                await chunk()
            await self._give_way()

    async def _give_way(self) -> None:
        """At least one turn of the loop; some more while small requests wait."""
        for _ in range(_MOST_TURNS):
            await asyncio.sleep(0)
            if self._is_clear():
                return
