"""One line a request would cost as much as its whole way through HTTP, so not all have one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from serving.http.series import HttpSeries

PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""They come every few seconds, and metrics tell of them."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AccessLog:
    """Counts all answers; logs those that failed or were slow, and a share of the others."""

    series: HttpSeries
    #: Share of the good and quick answers that are logged.
    share: float
    #: Answers that took longer are logged all.
    slow_s: float
    chance: Callable[[], float] = random.random

    def told(
        self, route: str, status: int, seconds: float, request_id: str, trace_id: str | None = None
    ) -> None:
        """One answer was given (status 499: the caller had gone)."""
        self.series.count(route, status, seconds)
        if status >= 400 or seconds > self.slow_s or self.chance() < self.share:
            self._tell(route, status, seconds, request_id, trace_id)

    def _tell(
        self, route: str, status: int, seconds: float, request_id: str, trace_id: str | None
    ) -> None:
        if route in PROBES and status < 500:
            return
        more = {} if trace_id is None else {"trace_id": trace_id}
        log.info(
            "request_answered",
            route=route,
            status=status,
            ms=round(seconds * 1e3, 2),
            request_id=request_id,
            **more,
        )
