"""Postmark's webhooks: one event per delivery, recognised by credentials in the URL or a header."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from feature_repo.ingest.providers.provider import Item, Provider, objects
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.paths import word_of
from feature_repo.ingest.webhook.request import Fetch, Request
from feature_repo.ingest.webhook.signatures import check_shared, secret


def verify(request: Request, settings: IngestSettings, _now: datetime, _fetch: Fetch) -> None:
    """Postmark signs nothing; it sends the credentials it was given."""
    expected = secret(settings, "postmark_secret")
    if expected is not None:
        check_shared(expected, request)


def word(item: Item) -> str | None:
    """`RecordType`; a bounce with its type, a change of subscription with its reason."""
    record = word_of(item.get("RecordType"))
    if record == "Bounce":
        detail = word_of(item.get("Type"))
    elif record == "SubscriptionChange":
        stopped = item.get("SuppressSending")
        detail = word_of(item.get("SuppressionReason")) if stopped is not False else "Reactivated"
    else:
        detail = None
    return record if detail is None else f"{record}/{detail}"


PROVIDERS: Final = (Provider(name="postmark", verify=verify, unpack=objects, word=word),)
