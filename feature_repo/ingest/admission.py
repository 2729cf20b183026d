"""Who may deliver, and how much may be in hand at once."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from feature_repo.api_keys import KeyFile, Scope
from feature_repo.errors import ConfigError
from feature_repo.ingest.backpressure import Pressure
from feature_repo.ingest.problems import MissingScope, NotAuthentic, Unavailable
from feature_repo.ingest.settings import IngestSettings

KEYED = frozenset({"canonical"})
"""Providers that are recognised by an API key of ours instead of by a secret of theirs."""

log = structlog.get_logger()


def check_key(keys: KeyFile | None, headers: Mapping[str, str]) -> None:
    """Return when the delivery carries a key with the scope; without a key file, always.

    Raises:
        NotAuthentic: no key, or one that is not known.
        MissingScope: the key may do other things.
        Unavailable: the key file is damaged.
    """
    if keys is None:
        return
    challenge = {"WWW-Authenticate": "Bearer"}
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    secret = secret.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    if not secret:
        message = (
            "No API key was sent. Send `Authorization: Bearer fsk_...`; the command "
            "`foresend keys add NAME --scope ingest` makes a key."
        )
        raise NotAuthentic(message, headers=challenge)
    try:
        key = keys.holder(secret)
    except ConfigError as exc:
        log.error("key_file_unreadable", problem=str(exc))
        message = "The key file of this server is damaged; its operator can see why in the log."
        raise Unavailable(message, headers={"Retry-After": "30"}) from exc
    if key is None:
        message = "This API key is not known here, or was revoked."
        raise NotAuthentic(message, headers=challenge)
    if Scope.INGEST not in key.scopes:
        held = ", ".join(key.scopes) or "none"
        message = f"This needs the scope '{Scope.INGEST}'; the key {key.name!r} has: {held}."
        raise MissingScope(message)


class Admission:
    """Counts what is in hand and refuses more, before a body is read."""

    def __init__(self, pressure: Pressure, settings: IngestSettings) -> None:
        self.pressure = pressure
        self._settings = settings
        self.requests = 0
        self.bytes = 0

    def check(self) -> None:
        """Return when one more delivery may be taken.

        Raises:
            Unavailable: not now.
        """
        refusing = self.pressure.refusing
        if refusing is not None:
            raise self.later(refusing[1])
        for count, most, what in (
            (self.requests, self._settings.max_in_flight, "deliveries"),
            (self.bytes, self._settings.max_in_flight_bytes, "bytes"),
        ):
            if count >= most:
                reason = f"{count} {what} are in hand, as many as this server may hold."
                raise self.later(reason)

    def later(self, reason: str) -> Unavailable:
        """A refusal that asks to come again."""
        wait = self._settings.retry_after_s
        return Unavailable(
            f"{reason} Send it again in {wait} s.",
            headers={"Retry-After": str(wait), "Connection": "close"},
        )
