"""Several workers on one socket: started, watched, replaced one by one, stopped.

The parent holds the listening socket and never answers on it. All workers accept from it, so what
waits in it survives any of them; with a socket each, the connections that wait in one of them
would be reset with its worker.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from feature_repo.errors import ForesendError
from feature_repo.listening import Manners, hush
from serving.admission.channel import Begin, Series
from serving.admission.child import Child, start_child
from serving.admission.tally import Tally

FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 30.0
STEADY_AFTER_S: Final = 60.0
"""A worker that ran this long has recovered: its next end starts from the first back-off."""

LOAD_S: Final = 180.0
"""A new worker that is not ready by then is given up, as long as another one is."""

SILENT_S: Final = 30.0
"""A loaded worker that says nothing for so long is stuck, and killed."""

SERIES_S: Final = 1.0
LOOK_S: Final = 0.05

log = structlog.get_logger()


class _Place:
    """One of the N: the worker that has it, and who may change that."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.child: Child | None = None
        self.changing = asyncio.Lock()


class Parent:
    """The workers of one server."""

    def __init__(self, begin: Begin, listening: socket.socket, manners: Manners) -> None:
        self._begin = begin
        self._listening = listening
        self._manners = manners
        self._places = [_Place(number) for number in range(begin.workers)]
        self._children: set[Child] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping, self._killing = asyncio.Event(), asyncio.Event()
        self._reloading = asyncio.Event()
        self._has_accepted = False
        self._tally = Tally()
        self.registry = CollectorRegistry()
        self._restarts = Counter(
            "foresend_serving_worker_restarts",
            "Workers that ended by themselves and were started again.",
            registry=self.registry,
        )
        self._replaced = Counter(
            "foresend_serving_worker_replacements",
            "Workers that SIGHUP was to replace.",
            ("outcome",),
            registry=self.registry,
        )
        taking = Gauge("foresend_serving_workers", "That take requests.", registry=self.registry)
        taking.set_function(lambda: sum(child.is_accepting for child in self._children))

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; SIGHUP replaces the workers one by one.

        Raises:
            ForesendError: no worker could start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reloading.set)
        for place in self._places:
            self._spawn(self._keep(place))
        self._spawn(self._reload())
        self._spawn(self._end_silent())
        await self._stopping.wait()
        await self._leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._has_accepted:
            message = "No worker could start; the log above says why."
            raise ForesendError(message)
        log.info("stopped", workers=len(self._places))

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._killing.set()
        self._stopping.set()

    async def _keep(self, place: _Place) -> None:
        """Start a worker, and again whenever it ends by itself."""
        backoff_s = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            async with place.changing:
                if place.child is None or place.child.has_ended.is_set():
                    place.child = await self._begun(place.number)
                child = place.child
            if child is not None:
                await child.has_ended.wait()
            async with place.changing:
                if place.child is not child:
                    continue
            if not self._has_accepted:
                # It never worked: a setting is wrong, and trying again will not mend it.
                self._stop()
            if self._stopping.is_set():
                return
            if child is not None:
                if child.age_s() > STEADY_AFTER_S:
                    backoff_s = FIRST_BACKOFF_S
                self._restarts.inc()
            code = None if child is None else child.code
            log.error("worker_ended", worker=place.number, code=code, again_in_s=backoff_s)
            await _wait(self._stopping, backoff_s)
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)

    async def _begun(self, number: int) -> Child | None:
        """A new worker that takes connections, or one that has ended before it could.

        None: it could not be started, for want of memory or processes, which may pass.
        """
        try:
            child = await start_child(self._begin, number)
        except OSError as exc:
            log.error("worker_not_started", worker=number, reason=str(exc))
            return None
        self._children.add(child)
        self._spawn(self._follow(child))
        while not (self._may_accept(child) or child.has_ended.is_set()):
            if child.age_s() > LOAD_S:
                log.error("worker_not_ready", worker=number, waited_s=LOAD_S)
                child.kill()
                await child.has_ended.wait()
            await asyncio.sleep(LOOK_S)
        if not child.has_ended.is_set():
            child.accept()
            self._has_accepted = True
            log.info("worker_started", worker=number, pid=child.pid, ready=child.is_ready)
        return child

    def _may_accept(self, child: Child) -> bool:
        """Whether it is ready or, as long as nobody is, can at least say why not."""
        if not child.is_loaded or child.is_ready is None:
            return False
        return child.is_ready or not any(c.is_ready and c.is_accepting for c in self._children)

    async def _follow(self, child: Child) -> None:
        await child.follow(self._asked, self._put)
        self._children.discard(child)
        # What a killed one counted since metrics were last asked for is lost with it.
        self._tally.retire(child.serial)

    async def _reload(self) -> None:
        """Replace the workers one by one, each when its successor is ready."""
        while True:
            await self._reloading.wait()
            self._reloading.clear()
            log.info("replacing_workers")
            for place in self._places:
                if not await self._replace(place):
                    log.error("replacing_ended", worker=place.number, cure="see the log above")
                    break
            else:
                log.info("workers_replaced")

    async def _replace(self, place: _Place) -> bool:
        async with place.changing:
            old = place.child
            fresh = await self._begun(place.number)
            if fresh is None or fresh.has_ended.is_set():
                self._replaced.labels("failed").inc()
                return False
            place.child = fresh
        self._replaced.labels("replaced").inc()
        if old is not None:
            old.leave()
            await _wait(old.has_ended, self._manners.longest_stop_s + 1.0)
            old.kill()
        return True

    async def _end_silent(self) -> None:
        while True:
            for child in self._children:
                if child.is_loaded and child.silent_s() > SILENT_S:
                    log.error("worker_stuck", worker=child.number, silent_s=SILENT_S)
                    child.kill()
            await asyncio.sleep(1.0)

    def _asked(self, child: Child, ask: int) -> None:
        self._spawn(self._give_series(child, ask), is_vital=False)

    async def _give_series(self, to: Child, ask: int) -> None:
        asked = [child for child in self._children if child.is_accepting]
        texts = await asyncio.gather(*(child.own_series(SERIES_S) for child in asked))
        for child, text in zip(asked, texts, strict=True):
            if text is not None and not child.has_ended.is_set():
                self._put(child, text)
        to.give(Series(ask, self._tally.exposition(self.registry)))

    def _put(self, child: Child, text: str) -> None:
        self._tally.put(child.serial, str(child.number), text)

    async def _leave(self) -> None:
        """Let all finish; what does not end is killed."""
        for child in self._children:
            child.leave()
        await _wait(self._killing, self._manners.drain_s)
        hush(self._listening)
        ended = asyncio.create_task(_all_ended(tuple(self._children)))
        killing = asyncio.create_task(self._killing.wait())
        left_s = self._manners.longest_stop_s - self._manners.drain_s + 1.0
        await asyncio.wait({ended, killing}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        killing.cancel()
        for child in self._children:
            log.error("worker_killed", worker=child.number)
            child.kill()
        await ended

    def _spawn(self, work: Coroutine[None, None, None], *, is_vital: bool = True) -> None:
        """Do it beside the others; when what is vital breaks, the server stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._finished, is_vital))

    def _finished(self, is_vital: bool, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        log.error("parent_broken" if is_vital else "series_failed", exc_info=task.exception())
        if is_vital:
            self._stop()


async def _all_ended(children: Sequence[Child]) -> bool:
    for child in children:
        await child.has_ended.wait()
    return True


async def _wait(event: asyncio.Event, longest_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await event.wait()
