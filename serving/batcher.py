"""Gathers requests in flight into micro-batches: one read and one pass of the model for many.

What arrives in one turn of the event loop goes out together at its end. While a batch is under
way, what arrives meanwhile is gathered on, for a millisecond at most: a busy server then works
in fewer and larger batches, and an idle one answers at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from serving.answers import Answer
from serving.asks import Ask
from serving.served import Route

MOST_CUSTOMERS: Final = 64
"""Customers of one micro-batch at most."""

UNDER_WAY: Final = 1
"""From so many batches under way on, new ones are gathered. With two the batches were half as
large, and a server with 64 callers answered a tenth fewer."""

HOLD_S: Final = 0.001
"""Longest wait for a batch under way; a store that hangs holds nobody back longer."""


@dataclass(slots=True, eq=False)
class Job:
    """One request of at most MOST_CUSTOMERS customers, and where its answer goes."""

    ask: Ask
    route: Route
    future: asyncio.Future[Answer]

    def fail(self, problem: BaseException) -> None:
        """Answer with a problem, unless the asker has gone or has an answer."""
        if not self.future.done():
            self.future.set_exception(problem)


class Batcher:
    """The requests that wait, and the batches under way. Belongs to one event loop."""

    def __init__(self, run: Callable[[Sequence[Job]], Coroutine[Any, Any, None]]) -> None:
        """`run` answers the jobs of one batch; those it leaves are failed with what it raised."""
        self._run = run
        self._waiting: deque[Job] = deque()
        self._customers = 0
        self._is_due = False
        self._holding: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits and nothing is under way."""
        return not self._waiting and not self._under_way

    def add(self, job: Job) -> None:
        """Let the request go out with the next batch."""
        self._waiting.append(job)
        self._customers += len(job.ask.customers)
        if not self._is_due:
            self._is_due = True
            job.future.get_loop().call_soon(self._end_of_turn)

    def _end_of_turn(self) -> None:
        self._is_due = False
        if len(self._under_way) < UNDER_WAY or self._customers >= MOST_CUSTOMERS:
            self._send()
        elif self._holding is None and self._waiting:
            loop = asyncio.get_running_loop()
            self._holding = loop.call_later(HOLD_S, self._send)

    def _send(self) -> None:
        """Begin batches with all that wait."""
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None
        while self._waiting:
            jobs = self._next()
            task = asyncio.create_task(self._run(jobs))
            self._under_way.add(task)
            task.add_done_callback(partial(self._ended, jobs))

    def _next(self) -> list[Job]:
        taken: list[Job] = []
        room = MOST_CUSTOMERS
        while self._waiting and (not taken or len(self._waiting[0].ask.customers) <= room):
            job = self._waiting.popleft()
            room -= len(job.ask.customers)
            taken.append(job)
        self._customers -= MOST_CUSTOMERS - room
        return taken

    def _ended(self, jobs: Sequence[Job], task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if task.cancelled():
            for job in jobs:
                job.future.cancel()
        else:
            problem = task.exception()
            for job in jobs:
                if not job.future.done():
                    job.fail(problem or RuntimeError("a batch left a request without an answer"))
        if self._waiting and not self._is_due:
            self._end_of_turn()
