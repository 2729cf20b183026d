"""A pace without waiting, and a web that answers as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx

from feature_repo.deliverability.patience import Pace, Patience, PatientClient, TokenBucket

NOON = datetime(2026, 3, 6, 12, tzinfo=UTC)


@dataclass
class Clock:
    """Time that passes only while somebody sleeps."""

    now: datetime = NOON
    slept: list[float] = field(default_factory=list)
    luck: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)

    def pace(self) -> Pace:
        return Pace(
            monotonic=lambda: self.now.timestamp(),
            sleep=self.sleep,
            chance=lambda: self.luck,
            clock=lambda: self.now,
        )


@dataclass
class Web:
    """Answers requests in order, or by a function, and remembers them."""

    answers: Iterator[httpx.Response | Exception] | None = None
    handler: Callable[[httpx.Request], httpx.Response] | None = None
    requests: list[httpx.Request] = field(default_factory=list)

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def client(self, clock: Clock, patience: Patience | None = None) -> PatientClient:
        bucket = TokenBucket(1_000.0, 1_000, clock.pace())
        http = httpx.Client(transport=self.transport())
        return PatientClient(
            "The source", http, bucket=bucket, patience=patience or Patience(), pace=clock.pace()
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.handler is not None:
            return self.handler(request)
        assert self.answers is not None
        found = next(self.answers)
        if isinstance(found, Exception):
            raise found
        return found
