"""Mandrill (Mailchimp Transactional): a form whose one field is a JSON array of events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from feature_repo.ingest.providers.provider import Item, Provider
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.errors import AuthenticationFailed, UnreadableBody
from feature_repo.ingest.webhook.json_body import read_json
from feature_repo.ingest.webhook.paths import word_of
from feature_repo.ingest.webhook.request import Fetch, Request
from feature_repo.ingest.webhook.signatures import check_hmac, secret

_HEADER: Final = "X-Mandrill-Signature"
_FIELD: Final = "mandrill_events"
_MOST_FIELDS: Final = 100
_TRIAL_KEY: Final = "test-webhook"
"""Mandrill signs with this when it tries a new address, before there is a key."""


def verify(request: Request, settings: IngestSettings, _now: datetime, _fetch: Fetch) -> None:
    """HMAC-SHA1 over the address as configured and the sorted fields of the form."""
    key = secret(settings, "mandrill_webhook_key")
    if key is None:
        return
    url = secret(settings, "mandrill_url") or ""
    form = _form(request)
    signed = url + "".join(name + value for name, value in sorted(form.items()))
    try:
        _check(key, signed, request)
    except AuthenticationFailed:
        # A trial without events says nothing, so it may be signed with what everybody knows.
        if form != {_FIELD: "[]"}:
            raise
        _check(_TRIAL_KEY, signed, request)


def _check(key: str, signed: str, request: Request) -> None:
    given = request.header(_HEADER.lower())
    raw = signed.encode("utf-8", "replace")
    check_hmac(key, raw, given, algorithm="sha1", encoding="base64", header=_HEADER)


def unpack(request: Request) -> Sequence[Any]:
    """The array in the field `mandrill_events`."""
    form = _form(request)
    if _FIELD not in form:
        message = f"The body is no form with the field {_FIELD}."
        raise UnreadableBody(message)
    events = read_json(form[_FIELD].encode("utf-8", "replace"))
    if not isinstance(events, list):
        message = f"The field {_FIELD} is JSON, but not an array."
        raise UnreadableBody(message)
    return events


def word(item: Item) -> str | None:
    """`event`; synchronisation of lists has a `type` instead."""
    event = word_of(item.get("event"))
    if event is None and word_of(item.get("type")) is not None:
        return f"sync/{item['type']}"
    return event


def _form(request: Request) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            request.body.decode("utf-8", "replace"),
            keep_blank_values=True,
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError as exc:
        message = f"The body is no form of at most {_MOST_FIELDS} fields."
        raise UnreadableBody(message) from exc
    return dict(pairs)


PROVIDERS: Final = (
    Provider(
        name="mandrill",
        verify=verify,
        unpack=unpack,
        word=word,
        aliases=("mailchimptransactional",),
    ),
)
