"""Klaviyo's webhooks: up to a thousand events, each with its topic and a Get-Event document."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from feature_repo.event import Machine
from feature_repo.ingest.machines.flags import NO_FLAGS, ProviderFlags
from feature_repo.ingest.providers.provider import Item, Provider, one_object
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.errors import AuthenticationFailed, UnreadableBody
from feature_repo.ingest.webhook.misfit import Misfit
from feature_repo.ingest.webhook.paths import dig, word_of
from feature_repo.ingest.webhook.request import Fetch, Request
from feature_repo.ingest.webhook.signatures import check_age, check_hmac, secret
from feature_repo.ingest.webhook.times import epoch, iso_utc

_SIGNATURE: Final = "Klaviyo-Signature"
_TIMESTAMP: Final = "Klaviyo-Timestamp"
_MACHINE_PROPERTIES: Final = (
    ("Apple Privacy Open", Machine.APPLE_MPP),
    ("machine_open", Machine.APPLE_MPP),
    ("Bot Click", Machine.SCANNER),
    ("bot_click", Machine.SCANNER),
)


def verify(request: Request, settings: IngestSettings, now: datetime, _fetch: Fetch) -> None:
    """HMAC over the body followed by the timestamp. How retries are signed is not documented."""
    key = secret(settings, "klaviyo_secret")
    if key is None:
        return
    stamp = request.header(_TIMESTAMP.lower())
    signed = request.body + stamp.encode("latin-1", "replace")
    given = request.header(_SIGNATURE.lower())
    check_hmac(key, signed, given, algorithm="sha256", encoding="hex", header=_SIGNATURE)
    check_age(_time(stamp), now, settings.retry_window_s, header=_TIMESTAMP)


def _time(stamp: str) -> datetime:
    """A time in any of the forms that were seen: epoch, ISO 8601, HTTP date.

    Raises:
        AuthenticationFailed: it is none.
    """
    for read in (epoch, iso_utc):
        try:
            found = read(stamp)
        except Misfit:
            continue
        if found is not None:
            return found
    try:
        found = parsedate_to_datetime(stamp)
    except ValueError as exc:
        message = f"{_TIMESTAMP} is missing or no time."
        raise AuthenticationFailed(message) from exc
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def unpack(request: Request) -> Sequence[Any]:
    """The elements of `data`, each with the profile out of its document and the time of sending."""
    content = one_object(request)
    events = content.get("data")
    if not isinstance(events, list):
        message = "The body has no array `data`."
        raise UnreadableBody(message)
    emitted = dig(content, "meta", "timestamp")
    return [
        {**event, "profile": _profile(event), "emitted": emitted}
        if isinstance(event, dict)
        else event
        for event in events
    ]


def _profile(event: dict[str, Any]) -> dict[str, Any]:
    identity = dig(event, "payload", "data", "relationships", "profile", "data", "id")
    included = dig(event, "payload", "included")
    profiles = [
        dig(part, "attributes")
        for part in (included if isinstance(included, list) else [])
        if dig(part, "type") == "profile"
    ]
    known = profiles[0] if profiles and isinstance(profiles[0], dict) else {}
    return {
        "id": identity,
        "email": known.get("email"),
        "external_id": known.get("external_id"),
        "properties": known.get("properties"),
    }


def word(item: Item) -> str | None:
    """`topic`, e.g. `event:klaviyo.opened_email`."""
    return word_of(item.get("topic"))


def flags(item: Item) -> ProviderFlags:
    """Klaviyo's properties for opens by Apple's proxy and for clicks by bots."""
    properties = dig(item, "payload", "data", "attributes", "event_properties")
    if not isinstance(properties, dict):
        return NO_FLAGS
    said = [(properties.get(name), machine) for name, machine in _MACHINE_PROPERTIES]
    if any(value is True for value, _ in said):
        return ProviderFlags(machine=next(machine for value, machine in said if value is True))
    if any(value is False for value, _ in said):
        return ProviderFlags(machine=Machine.NONE)
    return NO_FLAGS


PROVIDERS: Final = (Provider(name="klaviyo", verify=verify, unpack=unpack, word=word, flags=flags),)
