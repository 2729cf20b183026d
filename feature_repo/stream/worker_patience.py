"""Waiting for stores that do not answer: longer each time up to a bound, and without end."""

from __future__ import annotations

import random
from collections.abc import Callable
from threading import Event as Flag
from typing import Final, TypeVar

import structlog

from feature_repo.errors import StoreUnavailable
from feature_repo.stream.metrics import WorkerMetrics
from feature_repo.stream.worker_health import WorkerHealth

FIRST_S: Final = 0.1

LONGEST_S: Final = 5.0

Result = TypeVar("Result")
"""What a call returns."""

log = structlog.get_logger()


class Stopping(Exception):
    """The worker was asked to stop while it waited; what it holds is not acknowledged."""


class Patience:
    """Tries calls until the store they need answers."""

    def __init__(
        self,
        stop: Flag,
        health: WorkerHealth,
        metrics: WorkerMetrics,
        *,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._health = health
        self._metrics = metrics
        self._stop = stop
        self._wait = wait or stop.wait

    def until_available(
        self, call: Callable[[], Result], *, meanwhile: Callable[[], None] | None = None
    ) -> Result:
        """What the call returns, once it does; `meanwhile` is called before each wait.

        Raises:
            Stopping: the worker shall stop.
        """
        tries = 0
        while True:
            try:
                result = call()
            except StoreUnavailable as exc:
                tries += 1
                self._unavailable(exc, tries)
                if self._stop.is_set() or self.pause(tries):
                    raise Stopping from exc
                _unless_unavailable(meanwhile)
            else:
                if tries:
                    log.info("store_answers_again", after_tries=tries)
                self._health.trouble = None
                return result

    def pause(self, tries: int) -> bool:
        """Wait as long as is right after so many tries; whether the worker shall stop."""
        longest = min(FIRST_S * 2 ** min(tries - 1, 10), LONGEST_S)
        # Workers that lost the same store do not come back at the same moment.
        return self._wait(longest * random.uniform(0.5, 1.0))

    def _unavailable(self, exc: StoreUnavailable, tries: int) -> None:
        self._metrics.retried("store")
        self._health.trouble = str(exc)
        if tries & (tries - 1) == 0:  # the 1st, 2nd, 4th, 8th ... time
            log.warning("store_unavailable", tries=tries, problem=str(exc))


def _unless_unavailable(call: Callable[[], None] | None) -> None:
    if call is None:
        return
    try:
        call()
    except StoreUnavailable:
        return  # the queue is what is not available; said already
