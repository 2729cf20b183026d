"""Access tokens by client credentials (RFC 6749, 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import httpx

from serving.routing.connectors.errors import Later
from serving.routing.connectors.http import NEEDS_A_PERSON_S, USER_AGENT, object_of, taken

_LIFETIME_S: Final = 600.0
"""Of a token whose lifetime is not told."""

_MARGIN: Final = timedelta(seconds=60)


class ClientCredentials:
    """Gets a token, and a new one when it is about to end or was not taken."""

    def __init__(
        self,
        http: httpx.Client,
        url: str,
        client_id: str,
        client_secret: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._http = http
        self._url = url
        self._form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
        }
        self._clock = clock
        self._token: str | None = None
        self._ends = clock()

    def headers(self) -> Mapping[str, str]:
        """The header with the token.

        Raises:
            Later: none is given out now.
        """
        if self._token is None or self._clock() >= self._ends - _MARGIN:
            self._token = self._fetch()
        return {"Authorization": f"Bearer {self._token}"}

    def renew(self) -> bool:
        """Get a new token for the next call."""
        self._token = None
        return True

    def _fetch(self) -> str:
        try:
            response = self._http.post(
                self._url, data=self._form, headers={"User-Agent": USER_AGENT}
            )
        except httpx.RequestError as exc:
            message = f"no answer from the token endpoint ({type(exc).__name__})"
            raise Later(message) from None
        if response.status_code in {400, 401, 403}:
            message = f"status {response.status_code}: the client id or secret is not taken"
            raise Later(message, NEEDS_A_PERSON_S)
        told = object_of(taken(response, self._clock()))
        token, lifetime = told.get("access_token"), told.get("expires_in")
        if not isinstance(token, str) or not token:
            message = "the token endpoint gives no access_token"
            raise Later(message, NEEDS_A_PERSON_S)
        seconds = lifetime if isinstance(lifetime, int | float) and lifetime > 0 else _LIFETIME_S
        self._ends = self._clock() + timedelta(seconds=seconds)
        return token
