"""Brevo's transactional and marketing webhooks: one event per delivery, or an array of them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from feature_repo.event import Machine
from feature_repo.ingest.machines.flags import NO_FLAGS, ProviderFlags
from feature_repo.ingest.providers.provider import Item, Provider, objects
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.paths import word_of
from feature_repo.ingest.webhook.request import Fetch, Request
from feature_repo.ingest.webhook.signatures import check_shared, secret

_PROXY: Final = ProviderFlags(machine=Machine.APPLE_MPP)
_PROXY_WORDS: Final = frozenset(
    ("proxy_open", "unique_proxy_open", "loadedByProxy", "proxyOpen", "uniqueProxyOpen")
)


def verify(request: Request, settings: IngestSettings, _now: datetime, _fetch: Fetch) -> None:
    """Brevo signs nothing; it sends the credentials it was given."""
    expected = secret(settings, "brevo_secret")
    if expected is not None:
        check_shared(expected, request)


def word(item: Item) -> str | None:
    """`event`."""
    return word_of(item.get("event"))


def flags(item: Item) -> ProviderFlags:
    """Brevo has own words for opens by Apple's proxy, and says nothing about the others."""
    event = item.get("event")
    return _PROXY if isinstance(event, str) and event in _PROXY_WORDS else NO_FLAGS


PROVIDERS: Final = (
    Provider(
        name="brevo",
        verify=verify,
        unpack=objects,
        word=word,
        flags=flags,
        aliases=("sendinblue",),
    ),
)
