"""Foresend's own JSON: the canonical event, field by field. docs/events.md lists the fields."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from feature_repo.api_keys import KeyFile, Scope
from feature_repo.errors import ConfigError
from feature_repo.event import Machine
from feature_repo.ingest.machines.flags import NO_FLAGS, ProviderFlags
from feature_repo.ingest.providers.provider import Item, Provider, objects
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.errors import AuthenticationFailed, VerificationUnavailable
from feature_repo.ingest.webhook.paths import word_of
from feature_repo.ingest.webhook.request import Fetch, Request

_MACHINES: Final = {machine.value: machine for machine in Machine}


def verify(request: Request, settings: IngestSettings, _now: datetime, _fetch: Fetch) -> None:
    """An API key of this installation with the scope `ingest`, as bearer token or X-API-Key."""
    if settings.canonical_keys is None:
        if settings.insecure_local:
            return
        message = "Deliveries are refused until FORESEND_INGEST_CANONICAL_KEYS names the key file."
        raise AuthenticationFailed(message)
    scheme, _, token = request.header("authorization").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else request.header("x-api-key")
    if not key:
        message = "No API key was sent; `foresend keys add NAME --scope ingest` makes one."
        raise AuthenticationFailed(message)
    try:
        holder = _keys(settings.canonical_keys).holder(key)
    except ConfigError as exc:
        message = "The key file of this server is damaged."
        raise VerificationUnavailable(message) from exc
    if holder is None or Scope.INGEST not in holder.scopes:
        message = "The API key is not known here, was revoked, or has no scope 'ingest'."
        raise AuthenticationFailed(message)


@lru_cache(maxsize=4)
def _keys(path: Path) -> KeyFile:
    return KeyFile(path)


def unpack(request: Request) -> Sequence[Any]:
    """One event, an array of events, or an object with an array `events`."""
    found = objects(request)
    if len(found) == 1 and isinstance(found[0], dict) and isinstance(found[0].get("events"), list):
        return list(found[0]["events"])
    return found


def word(item: Item) -> str | None:
    """`type`, in small letters."""
    found = word_of(item.get("type"))
    return None if found is None else found.lower()


def flags(item: Item) -> ProviderFlags:
    """`machine`, with `machine_score` as the confidence."""
    named = item.get("machine")
    machine = _MACHINES.get(named) if isinstance(named, str) else None
    if machine is None:
        return NO_FLAGS
    score = item.get("machine_score")
    if isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1:
        return ProviderFlags(machine=machine, confidence=float(score))
    return ProviderFlags(machine=machine)


PROVIDERS: Final = (
    Provider(
        name="canonical",
        verify=verify,
        unpack=unpack,
        word=word,
        flags=flags,
        aliases=("foresend",),
    ),
)
