"""Mautic's webhooks: an object of lists, one per kind of event, in an order that is configurable.

The manual and the code disagree on shapes: the manual shows e-mail and contact for an open, the
code sends the row of the statistics. Both are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from feature_repo.ingest.providers.provider import Item, Provider, one_object
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.errors import UnreadableBody
from feature_repo.ingest.webhook.paths import dig, word_of
from feature_repo.ingest.webhook.request import Fetch, Request
from feature_repo.ingest.webhook.signatures import check_hmac, secret

_HEADER: Final = "Webhook-Signature"
_CONTACTS: Final = (("stat", "lead"), ("hit", "lead"), ("contact",), ("lead",))


def verify(request: Request, settings: IngestSettings, _now: datetime, _fetch: Fetch) -> None:
    """HMAC of the body. No time is signed, so a replay is known by its events' ids only."""
    key = secret(settings, "mautic_secret")
    if key is None:
        return
    given = request.header(_HEADER.lower())
    check_hmac(key, request.body, given, algorithm="sha256", encoding="base64", header=_HEADER)


def unpack(request: Request) -> Sequence[Any]:
    """Each entry with its kind under `trigger` and its contact under `person`."""
    content = one_object(request)
    kinds = {name: value for name, value in content.items() if name.startswith("mautic.")}
    if content and not kinds:
        message = "The body has no key that begins with `mautic.`."
        raise UnreadableBody(message)
    return [
        {**entry, "trigger": name, "person": _person(entry)} if isinstance(entry, dict) else entry
        for name, value in kinds.items()
        for entry in (value if isinstance(value, list) else [value])
    ]


def _person(entry: dict[str, Any]) -> dict[str, Any]:
    """Id, address and custom fields of the contact, wherever this kind of event has it."""
    found = next((c for path in _CONTACTS if (c := dig(entry, *path)) is not None), None)
    if not isinstance(found, dict):
        return {"id": found, "email": None, "fields": None}
    fields = _fields(found.get("fields"))
    return {
        "id": found.get("id"),
        "email": found.get("email") or fields.get("email"),
        "fields": fields,
    }


def _fields(groups: Any) -> dict[str, Any]:
    """Custom fields by alias; Mautic sends them in groups, each value inside its definition."""
    found: dict[str, Any] = {}
    for group in groups.values() if isinstance(groups, dict) else ():
        for alias, definition in group.items() if isinstance(group, dict) else ():
            value = definition.get("value") if isinstance(definition, dict) else definition
            if isinstance(value, str | int | float):
                found[alias] = value
    return found


def word(item: Item) -> str | None:
    """The key in the body; a page hit with its source, a subscription with its new state."""
    trigger = word_of(item.get("trigger"))
    if trigger == "mautic.page_on_hit":
        detail = word_of(dig(item, "hit", "source"))
    elif trigger == "mautic.lead_channel_subscription_changed":
        channel = word_of(item.get("channel"))
        status = word_of(item.get("new_status"))
        detail = f"not {channel}" if channel not in (None, "email") else status
    else:
        detail = None
    return trigger if detail is None else f"{trigger}/{detail}"


PROVIDERS: Final = (Provider(name="mautic", verify=verify, unpack=unpack, word=word),)
