"""Customer.io's reporting webhooks: one event per delivery."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from feature_repo.ingest.providers.provider import Item, Provider, objects
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.paths import word_of
from feature_repo.ingest.webhook.request import Fetch, Request
from feature_repo.ingest.webhook.signatures import check_fresh, check_hmac, secret

_SIGNATURE: Final = "X-CIO-Signature"
_TIMESTAMP: Final = "X-CIO-Timestamp"


def verify(request: Request, settings: IngestSettings, now: datetime, _fetch: Fetch) -> None:
    """HMAC over `v0:<timestamp>:<body>`."""
    key = secret(settings, "customerio_signing_key")
    if key is None:
        return
    stamp = request.header(_TIMESTAMP.lower())
    signed = b"v0:%b:%b" % (stamp.encode("latin-1", "replace"), request.body)
    given = request.header(_SIGNATURE.lower())
    check_hmac(key, signed, given, algorithm="sha256", encoding="hex", header=_SIGNATURE)
    check_fresh(stamp, now, settings.replay_window_s, header=_TIMESTAMP)


def word(item: Item) -> str | None:
    """`object_type` and `metric`, e.g. `email/clicked`; older accounts have one `event_type`."""
    kind, metric = word_of(item.get("object_type")), word_of(item.get("metric"))
    if kind is not None and metric is not None:
        return f"{kind}/{metric}"
    older = word_of(item.get("event_type"))
    return None if older is None else older.replace("_", "/", 1)


PROVIDERS: Final = (Provider(name="customerio", verify=verify, unpack=objects, word=word),)
