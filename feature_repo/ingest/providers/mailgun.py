"""Mailgun's webhooks: one event per delivery, its signature in the body."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from feature_repo.event import Machine
from feature_repo.ingest.machines.flags import NO_FLAGS, ProviderFlags
from feature_repo.ingest.providers.provider import Item, Provider, one_object
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.errors import UnreadableBody
from feature_repo.ingest.webhook.paths import dig, word_of
from feature_repo.ingest.webhook.request import Fetch, Request
from feature_repo.ingest.webhook.signatures import check_fresh, check_hmac, secret

_MACHINES: Final = {
    "": Machine.NONE,
    "apple": Machine.APPLE_MPP,
    "gmail": Machine.GMAIL_PROXY,
    "generic": Machine.GENERIC,
}


def verify(request: Request, settings: IngestSettings, now: datetime, _fetch: Fetch) -> None:
    """HMAC over timestamp and token, made anew at every try.

    It does not cover the event, so a signature that was seen can carry another event while it is
    fresh. Mailgun advises to remember tokens; this function has no memory, and TLS hides them.
    """
    key = secret(settings, "mailgun_signing_key")
    if key is None:
        return
    signature = one_object(request).get("signature")
    stamp, token, given = (
        value if isinstance(value := dig(signature, name), str) else ""
        for name in ("timestamp", "token", "signature")
    )
    signed = (stamp + token).encode("utf-8", "replace")
    check_hmac(key, signed, given, algorithm="sha256", encoding="hex", header="signature.signature")
    check_fresh(stamp, now, settings.replay_window_s, header="signature.timestamp")


def unpack(request: Request) -> Sequence[Any]:
    """The object under `event-data`."""
    content = one_object(request)
    if "event-data" not in content:
        message = "The body has no event-data; use Mailgun's JSON webhooks, not the legacy ones."
        raise UnreadableBody(message)
    return [content["event-data"]]


def word(item: Item) -> str | None:
    """`event`; a failure with its severity, and with the reason if Mailgun did not even try."""
    event = word_of(item.get("event"))
    severity = word_of(item.get("severity"))
    if event != "failed" or severity is None:
        return event
    reason = word_of(item.get("reason"))
    if reason is not None and reason.startswith("suppress-"):
        return f"failed/{severity}/{reason}"
    return f"failed/{severity}"


def flags(item: Item) -> ProviderFlags:
    """`client-info.bot`: empty says a person, missing or null says nothing."""
    bot = dig(item, "client-info", "bot")
    if not isinstance(bot, str):
        return NO_FLAGS
    return ProviderFlags(machine=_MACHINES.get(bot, Machine.GENERIC))


PROVIDERS: Final = (Provider(name="mailgun", verify=verify, unpack=unpack, word=word, flags=flags),)
