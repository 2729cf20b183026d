"""Requests to a source that limits how often it is asked: a token bucket, and waits that grow.

What was asked and answered is not logged, and no URL is part of an error: one of the sources takes
its key in the URL.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from feature_repo.deliverability.errors import SourceUnavailable

LONGEST_RETRY_S: Final = 86_400.0
"""A server that asks for more is asked again after a day: it may have meant something else."""

_AGAIN: Final = frozenset((408, 429, 500, 502, 503, 504))
_QUOTA_WORDS: Final = ("rateLimitExceeded", "quotaExceeded", "RESOURCE_EXHAUSTED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a source is waited for."""

    tries: int = 5
    #: Before the second try; doubled each time, with jitter.
    first_wait_s: float = 1.0
    #: No single wait is longer; a source that asks for more is left alone until then.
    longest_wait_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What waiting and chance are made of; a test brings its own."""

    #: Seconds since some moment, never going back.
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    #: A number in [0, 1).
    chance: Callable[[], float]
    #: Aware UTC.
    clock: Callable[[], datetime]


class TokenBucket:
    """Lets `rate_per_s` through on average, and `burst` at once."""

    def __init__(self, rate_per_s: float, burst: int, pace: Pace) -> None:
        self._rate = rate_per_s
        self._burst = float(burst)
        self._pace = pace
        self._tokens = self._burst
        self._seen = pace.monotonic()

    def take(self) -> None:
        """Return when the next request may go out."""
        self._fill()
        if self._tokens < 1.0:
            self._pace.sleep((1.0 - self._tokens) / self._rate)
            self._fill()
        self._tokens -= 1.0

    def _fill(self) -> None:
        now = self._pace.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._seen) * self._rate)
        self._seen = now


class PatientClient:
    """Sends requests until they are answered, or patience ends. `name` is used in errors."""

    def __init__(
        self, name: str, http: httpx.Client, *, bucket: TokenBucket, patience: Patience, pace: Pace
    ) -> None:
        self._name = name
        self._http = http
        self._bucket = bucket
        self._patience = patience
        self._pace = pace
        # They write each URL, with the key in it, at INFO and DEBUG.
        for logger in ("httpx", "httpcore"):
            logging.getLogger(logger).setLevel(logging.WARNING)

    def send(self, request: Callable[[], httpx.Request]) -> httpx.Response:
        """The answer, with its body. 4xx are answers too, except those that mean: later.

        `request` is called for each try, so that a token may be renewed in between.

        Raises:
            SourceUnavailable: it did not answer within patience, or said when to come back.
        """
        for attempt in range(self._patience.tries):
            self._bucket.take()
            response, problem = self._try(request())
            if response is not None and not _is_later(response):
                return response
            asked = None if response is None else retry_after(response, self._pace.clock())
            if asked is not None and asked > self._patience.longest_wait_s:
                raise self._told_to_wait(problem, asked)
            if attempt + 1 < self._patience.tries:
                self._pace.sleep(self._wait(attempt, asked))
        message = (
            f"{self._name} did not answer after {self._patience.tries} tries ({problem}). "
            "The next pull asks for the same days again."
        )
        raise SourceUnavailable(message)

    def _try(self, request: httpx.Request) -> tuple[httpx.Response | None, str]:
        try:
            response = self._http.send(request)
        except httpx.RequestError as exc:
            # The name alone: its text may hold the URL.
            return None, type(exc).__name__
        return response, f"status {response.status_code}"

    def _told_to_wait(self, problem: str, seconds: float) -> SourceUnavailable:
        until = self._pace.clock() + timedelta(seconds=seconds)
        message = (
            f"{self._name} asks to be left alone until {until:%Y-%m-%d %H:%M} UTC ({problem}). "
            "Pulls before that do nothing; later ones ask for the same days again."
        )
        return SourceUnavailable(message, until)

    def _wait(self, attempt: int, asked: float | None) -> float:
        """Between half and the whole of the doubled wait, and never less than asked for."""
        doubled = self._patience.first_wait_s * 2.0**attempt
        jittered = min(doubled, self._patience.longest_wait_s) * (0.5 + self._pace.chance() / 2)
        return max(jittered, asked or 0.0)


def retry_after(response: httpx.Response, now: datetime) -> float | None:
    """Seconds that the answer asks to wait (RFC 9110 10.2.3), None when it does not say."""
    written = response.headers.get("retry-after", "").strip()
    if written.isdigit():
        return min(float(written[:9]), LONGEST_RETRY_S)
    try:
        until = parsedate_to_datetime(written)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(0.0, (until - now).total_seconds()), LONGEST_RETRY_S)


def _is_later(response: httpx.Response) -> bool:
    if response.status_code in _AGAIN:
        return True
    # Google answered used-up quotas with 403 for years, and some of its services still do.
    return response.status_code == 403 and any(word in response.text for word in _QUOTA_WORDS)
