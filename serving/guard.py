"""Lets a request in by its API key, on the routes of the framework."""

from __future__ import annotations

from typing import Annotated

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from feature_repo.api_keys import Scope
from serving.admission.keys import Doorkeeper

_bearer = HTTPBearer(auto_error=False, description="`Authorization: Bearer fsk_...`")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="`X-API-Key: fsk_...`")


class Guard:
    """FastAPI dependency: the name of the key's holder, when the key has the scope."""

    def __init__(self, doorkeeper: Doorkeeper, scope: Scope) -> None:
        self._doorkeeper = doorkeeper
        self._scope = scope

    async def __call__(
        self,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        header: Annotated[str | None, Security(_header)],
    ) -> str:
        """Check the presented key.

        Raises:
            Problem: it may not enter; see Doorkeeper.
        """
        secret = bearer.credentials if bearer is not None else header
        return self._doorkeeper.admit(secret, self._scope)
