"""SparkPost's webhooks: an array of events, each wrapped in `msys` and the name of its class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from feature_repo.event import Machine
from feature_repo.ingest.machines.flags import NO_FLAGS, ProviderFlags
from feature_repo.ingest.providers.provider import Item, Provider, objects
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.paths import dig, word_of
from feature_repo.ingest.webhook.request import Fetch, Request
from feature_repo.ingest.webhook.signatures import check_shared, secret

_BOUNCES: Final = frozenset(("bounce", "out_of_band"))


def verify(request: Request, settings: IngestSettings, _now: datetime, _fetch: Fetch) -> None:
    """SparkPost signs nothing; it sends the credentials it was given."""
    expected = secret(settings, "sparkpost_secret")
    if expected is not None:
        check_shared(expected, request)


def unpack(request: Request) -> Sequence[Any]:
    """What is inside the wrappers; an empty wrapper is a ping."""
    return [event for wrapped in objects(request) for event in _inside(wrapped)]


def _inside(wrapped: Any) -> Iterator[Any]:
    msys = wrapped.get("msys") if isinstance(wrapped, dict) else None
    if isinstance(msys, dict):
        yield from msys.values()
    else:
        yield wrapped


def word(item: Item) -> str | None:
    """`type`; a bounce with its class."""
    kind = word_of(item.get("type"))
    if kind not in _BOUNCES:
        return kind
    class_ = item.get("bounce_class")
    is_number = isinstance(class_, str | int) and str(class_)[:4].isdecimal()
    return f"{kind}/{str(class_)[:4]}" if is_number else kind


def flags(item: Item) -> ProviderFlags:
    """Prefetched is Apple's proxy; a proxy alone is not said to be a person or a machine."""
    prefetched = dig(item, "user_agent_parsed", "is_prefetched")
    proxy = dig(item, "user_agent_parsed", "is_proxy")
    if prefetched is True:
        return ProviderFlags(machine=Machine.APPLE_MPP)
    if prefetched is False and proxy is False:
        return ProviderFlags(machine=Machine.NONE)
    return NO_FLAGS


PROVIDERS: Final = (
    Provider(name="sparkpost", verify=verify, unpack=unpack, word=word, flags=flags),
)
