"""Segment and RudderStack: what people do in the shop, as the tracking plan of both names it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from feature_repo.ingest.providers.provider import Item, Provider, objects
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.paths import word_of
from feature_repo.ingest.webhook.request import Fetch, Request
from feature_repo.ingest.webhook.signatures import check_hmac, check_shared, secret

_HEADER: Final = "X-Signature"


def verify_segment(
    request: Request, settings: IngestSettings, _now: datetime, _fetch: Fetch
) -> None:
    """HMAC-SHA1 of the body. Of a batch Segment signs the first event alone: such are refused."""
    key = secret(settings, "segment_shared_secret")
    if key is None:
        return
    given = request.header(_HEADER.lower())
    check_hmac(key, request.body, given, algorithm="sha1", encoding="hex", header=_HEADER)


def verify_rudderstack(
    request: Request, settings: IngestSettings, _now: datetime, _fetch: Fetch
) -> None:
    """RudderStack signs nothing; it sends the headers it was given."""
    expected = secret(settings, "rudderstack_secret")
    if expected is not None:
        check_shared(expected, request)


def unpack(request: Request) -> Sequence[Any]:
    """One call, an array of calls, or an object with a `batch`."""
    found = objects(request)
    if len(found) == 1 and isinstance(found[0], dict) and isinstance(found[0].get("batch"), list):
        return list(found[0]["batch"])
    return found


def word(item: Item) -> str | None:
    """The name of a tracked event; for other calls the name of the call, e.g. `page`."""
    call = word_of(item.get("type"))
    if call == "track" or call is None:
        return word_of(item.get("event"))
    return call


PROVIDERS: Final = (
    Provider(name="segment", verify=verify_segment, unpack=unpack, word=word),
    Provider(
        name="rudderstack",
        verify=verify_rudderstack,
        unpack=unpack,
        word=word,
        mapping="segment",
        aliases=("rudder",),
    ),
)
