"""Lets a request in by its API key."""

from __future__ import annotations

from typing import Annotated

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from feature_repo.api_keys import KeyFile, Scope
from feature_repo.errors import ConfigError
from serving.errors import BadKey, KeysUnreadable, MissingScope

_bearer = HTTPBearer(auto_error=False, description="`Authorization: Bearer fsk_...`")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="`X-API-Key: fsk_...`")


class Guard:
    """FastAPI dependency: the name of the key's holder, when the key has the scope."""

    def __init__(self, keys: KeyFile | None, scope: Scope) -> None:
        self._keys = keys
        self._scope = scope

    async def __call__(
        self,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        header: Annotated[str | None, Security(_header)],
    ) -> str:
        """Check the presented key. Without a key file everybody may enter (`--insecure-local`)."""
        if self._keys is None:
            return "local"
        secret = bearer.credentials if bearer is not None else header
        challenge = {"WWW-Authenticate": "Bearer"}
        if not secret:
            message = (
                "No API key was sent. Send `Authorization: Bearer fsk_...`; the command "
                "`foresend keys add NAME` makes a key."
            )
            raise BadKey(message, headers=challenge)
        try:
            key = self._keys.holder(secret)
        except ConfigError as exc:
            message = "The key file of this server is damaged; its operator can see why in the log."
            raise KeysUnreadable(message, headers={"Retry-After": "30"}) from exc
        if key is None:
            message = "This API key is not known here, or was revoked."
            raise BadKey(message, headers=challenge)
        if self._scope not in key.scopes:
            held = ", ".join(key.scopes) or "none"
            message = f"This needs the scope '{self._scope}'; the key {key.name!r} has: {held}."
            raise MissingScope(message)
        return key.name
