"""SendGrid's event webhook: an array of flat objects, custom arguments mixed into them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from feature_repo.event import Machine
from feature_repo.ingest.machines.flags import NO_FLAGS, ProviderFlags
from feature_repo.ingest.providers.provider import Item, Provider, objects
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.paths import word_of
from feature_repo.ingest.webhook.request import Fetch, Request
from feature_repo.ingest.webhook.signatures import check_ecdsa, check_fresh, secret

_SIGNATURE: Final = "X-Twilio-Email-Event-Webhook-Signature"
_TIMESTAMP: Final = "X-Twilio-Email-Event-Webhook-Timestamp"
_FLAGS: Final = {
    True: ProviderFlags(machine=Machine.APPLE_MPP),
    False: ProviderFlags(machine=Machine.NONE),
}


def verify(request: Request, settings: IngestSettings, now: datetime, _fetch: Fetch) -> None:
    """ECDSA over timestamp and body. Retries go on for a day and may carry the first signature."""
    key = secret(settings, "sendgrid_public_key")
    if key is None:
        return
    stamp = request.header(_TIMESTAMP.lower())
    signed = stamp.encode("latin-1", "replace") + request.body
    check_ecdsa(key, signed, request.header(_SIGNATURE.lower()), header=_SIGNATURE)
    check_fresh(stamp, now, settings.retry_window_s, header=_TIMESTAMP)


def word(item: Item) -> str | None:
    """`event`; a bounce with its type: `bounce/blocked` is the server's "not now", not "never"."""
    event = word_of(item.get("event"))
    kind = word_of(item.get("type")) if event == "bounce" else None
    return event if kind is None else f"{event}/{kind}"


def flags(item: Item) -> ProviderFlags:
    """`sg_machine_open` is there for opens only."""
    machine = item.get("sg_machine_open")
    return _FLAGS[machine] if isinstance(machine, bool) else NO_FLAGS


PROVIDERS: Final = (
    Provider(name="sendgrid", verify=verify, unpack=objects, word=word, flags=flags),
)
