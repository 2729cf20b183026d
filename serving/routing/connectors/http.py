"""Calls of a tool over HTTP, the same for all: pace, credentials, and what a status means.

Neither bodies nor URLs are logged or told in errors: they may hold addresses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import httpx

from feature_repo.deliverability.patience import Pace, TokenBucket, retry_after
from serving.routing.connectors.errors import Later, Refused
from serving.routing.connectors.port import Outcome, dead, retry
from serving.routing.message import Routed

USER_AGENT: Final = "foresend-connector/1"
NEEDS_A_PERSON_S: Final = 60.0
"""Between tries when credentials or an address are not taken: only a person can mend that."""

_BUSY: Final = frozenset((408, 425, 429))
_CLOSED: Final = {
    401: "the credentials are not taken",
    403: "the credentials do not allow it",
    404: "there is nothing at this address",
    405: "the tool does not know this call; its version may be too old",
    410: "the address was given up",
}
MOST_CALLS: Final = 64
"""Calls to find the bad ones among messages that were refused together."""


class Credentials(Protocol):
    """What lets a call in."""

    def headers(self) -> Mapping[str, str]:
        """Headers of a call.

        Raises:
            Later: the tool gives none now.
        """

    def renew(self) -> bool:
        """The last ones were not taken; whether there may be others."""


class FixedHeaders:
    """Credentials that do not change."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def headers(self) -> Mapping[str, str]:
        """Always the same."""
        return self._headers

    def renew(self) -> bool:
        """There are no others."""
        return False


class Caller:
    """Calls one tool, at its pace."""

    def __init__(
        self,
        http: httpx.Client,
        credentials: Credentials,
        *,
        bucket: TokenBucket,
        clock: Callable[[], datetime],
    ) -> None:
        self._http = http
        self._credentials = credentials
        self._bucket = bucket
        self._clock = clock
        # They write each URL at INFO, and a lookup has customers in it.
        for logger in ("httpx", "httpcore"):
            logging.getLogger(logger).setLevel(logging.WARNING)

    def call(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The answer, when it is of success. `content` is JSON.

        Raises:
            Later: the tool does not answer, is busy, or does not let us in.
            Refused: it will not take this.
        """
        response = self._send(method, url, content, params, headers or {})
        if response.status_code == 401 and self._credentials.renew():
            response = self._send(method, url, content, params, headers or {})
        return taken(response, self._clock())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(
        self,
        method: str,
        url: str,
        content: bytes | None,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str],
    ) -> httpx.Response:
        sent = {**self._credentials.headers(), **headers, "User-Agent": USER_AGENT}
        if content is not None:
            sent["Content-Type"] = "application/json"
        self._bucket.take()
        try:
            return self._http.request(method, url, content=content, params=params, headers=sent)
        except (httpx.RequestError, httpx.InvalidURL) as exc:
            # The name alone: its text may hold the URL.
            message = f"no answer ({type(exc).__name__})"
            raise Later(message) from None


def taken(response: httpx.Response, now: datetime) -> httpx.Response:
    """The response, if it is of success.

    Raises:
        Later: it means: not now, or not until a person has mended something.
        Refused: it means: never.
    """
    status = response.status_code
    if response.is_success:
        return response
    asked = retry_after(response, now)
    if status in _BUSY or status >= 500:
        message = f"status {status}"
        raise Later(message, asked, status=status)
    if status in _CLOSED or response.is_redirect:
        message = f"status {status}: {_CLOSED.get(status, 'the tool has moved')}"
        raise Later(message, asked or NEEDS_A_PERSON_S, status=status)
    message = f"status {status}"
    raise Refused(message, status=status)


def object_of(response: httpx.Response) -> Mapping[str, Any]:
    """The JSON object of an answer.

    Raises:
        Later: it is none, as when something in between answers for the tool.
    """
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        message = f"status {response.status_code}, and the answer is no JSON object"
        raise Later(message, NEEDS_A_PERSON_S)
    return found


def told_apart(
    batch: Sequence[Routed], call: Callable[[Sequence[Routed]], Sequence[Outcome]]
) -> list[Outcome]:
    """The outcomes of a call of all messages; if it is refused, of calls of halves of them.

    One bad message does not cost the others. Parts that are refused after `MOST_CALLS` calls come
    again: each round decides about some, and what failed often is sent alone.
    """
    left = MOST_CALLS

    def attempt(part: Sequence[Routed]) -> list[Outcome]:
        nonlocal left
        left -= 1
        try:
            return list(call(part))
        except Later as exc:
            return [retry(str(exc), exc.after_s)] * len(part)
        except Refused as exc:
            if len(part) == 1:
                return [dead(str(exc))]
            if left < 2:
                return [retry(f"{exc}, together with {len(part) - 1} others")] * len(part)
            middle = len(part) // 2
            return attempt(part[:middle]) + attempt(part[middle:])

    return attempt(batch) if batch else []


def open_http(timeout_s: float, transport: httpx.BaseTransport | None) -> httpx.Client:
    """A client that waits so long for a connection and for an answer, and follows nobody."""
    return httpx.Client(timeout=timeout_s, transport=transport, follow_redirects=False)


def bucket_of(rate_per_s: float, pace: Pace) -> TokenBucket:
    """Lets so many calls through each second, and a second's worth at once."""
    return TokenBucket(rate_per_s, max(1, int(rate_per_s)), pace)
