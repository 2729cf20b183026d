"""From a delivery to canonical events: the one entry for the service, for tests and embedding.

Each event of a delivery stands alone: one that does not fit becomes a `Rejected` and the others
are not affected. Each tries the versions of its provider's mapping from the newest to the oldest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from feature_repo.event import Event
from feature_repo.ingest.drift.fingerprint import fingerprint
from feature_repo.ingest.machines.label import label
from feature_repo.ingest.providers.provider import Provider
from feature_repo.ingest.providers.registry import find_provider
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog, shipped_catalog
from feature_repo.ingest.webhook.certificates import fetch_url
from feature_repo.ingest.webhook.customers import Customers
from feature_repo.ingest.webhook.json_body import Unreadable, as_json, read_json
from feature_repo.ingest.webhook.misfit import Misfit, shown
from feature_repo.ingest.webhook.request import Fetch, Request
from feature_repo.ingest.webhook.version import Arrival, Version

Observe = Callable[[str, str, Mapping[str, Any], bool], None]
"""Told of each event: provider, word, payload, and whether it fitted."""


def parse(
    provider: str,
    body: bytes,
    headers: Mapping[str, str],
    settings: IngestSettings,
    *,
    received_time: datetime | None = None,
    raw_ref: str | None = None,
    verified: bool = False,
    catalog: Catalog | None = None,
    observe: Observe | None = None,
    fetch: Fetch = fetch_url,
) -> list[Event | Rejected]:
    """The events of a delivery in their order; empty for a ping.

    `received_time`: when it came, now if None. `raw_ref`: its record in the raw store.
    `verified`: its authenticity was checked before. `catalog`: mappings, the shipped ones if None.

    Raises:
        AuthenticationFailed: the provider's signature or secret is missing or wrong.
        UnknownProvider: there is no such provider.
        UnreadableBody: no event can ever be found in the body.
        StoreUnavailable: a certificate or the table of identities cannot be had now.
    """
    found = find_provider(provider)
    request = Request.of(body, headers)
    now = datetime.now(UTC) if received_time is None else received_time
    if not verified:
        found.verify(request, settings, now, fetch)
    items = found.unpack(request)
    if not items:
        return []
    parser = _Parser(found, settings, catalog, now, raw_ref, observe)
    outcomes = (parser.outcome(item, index) for index, item in enumerate(items))
    return [outcome for outcome in outcomes if outcome is not None]


def parse_payload(
    provider: str,
    payload: bytes,
    settings: IngestSettings,
    *,
    received_time: datetime,
    raw_ref: str | None = None,
    catalog: Catalog | None = None,
) -> Event | Rejected | None:
    """One event out of `Rejected.payload`, e.g. with a newer mapping; None if it is ignored now.

    `raw_ref` is taken as it is, with the place in the body.

    Raises:
        UnknownProvider: there is no such provider.
        UnreadableBody: the payload is no JSON.
    """
    found = find_provider(provider)
    ref, _, place = (raw_ref or "").rpartition("#")
    index = int(place) if place.isdecimal() else 0
    parser = _Parser(found, settings, catalog, received_time, ref or None, None)
    return parser.outcome(read_json(payload), index)


def verify(
    provider: str,
    body: bytes,
    headers: Mapping[str, str],
    settings: IngestSettings,
    *,
    now: datetime,
    fetch: Fetch = fetch_url,
) -> None:
    """Return when a delivery is authentic and its events can be found.

    Raises:
        AuthenticationFailed: the provider's signature or secret is missing or wrong.
        UnknownProvider: there is no such provider.
        UnreadableBody: no event can ever be found in the body.
        StoreUnavailable: the certificate of the signer cannot be had now.
    """
    found = find_provider(provider)
    request = Request.of(body, headers)
    found.verify(request, settings, now, fetch)
    found.unpack(request)


class _Parser:
    """Makes events of the items of one delivery."""

    def __init__(
        self,
        provider: Provider,
        settings: IngestSettings,
        catalog: Catalog | None,
        received_time: datetime,
        raw_ref: str | None,
        observe: Observe | None,
    ) -> None:
        catalog = shipped_catalog() if catalog is None else catalog
        catalog.refresh()
        self._provider = provider
        self._versions = catalog.versions(provider.mapped_as)
        self._customers = Customers(settings)
        self._received_time = received_time
        self._raw_ref = raw_ref
        self._observe = observe

    def outcome(self, item: Any, index: int) -> Event | Rejected | None:
        """The event, why there is none, or None for what is no event for us."""
        if not isinstance(item, dict):
            reason = "unreadable_event" if isinstance(item, Unreadable) else "not_an_object"
            what = "nested too deep" if isinstance(item, Unreadable) else shown(item)
            misfit = Misfit(reason, f"the event is {what}, not an object")
            return self._rejected(item, index, None, misfit)
        word = self._provider.word(item)
        if word is None:
            misfit = Misfit("missing_type", "nothing in the event says what happened")
            return self._rejected(item, index, None, misfit)
        try:
            event = self._event(item, index, word)
        except Misfit as misfit:
            if self._observe is not None:
                self._observe(self._provider.name, word, item, False)
            return self._rejected(item, index, word, misfit)
        if self._observe is not None:
            self._observe(self._provider.name, word, item, True)
        return None if event is None else label(event, self._provider.flags(item))

    def _event(self, item: dict[str, Any], index: int, word: str) -> Event | None:
        """The event by the newest version that fits, None when it is ignored.

        A version that knows the word counts before one that does not.

        Raises:
            Misfit: no version fits.
        """
        known = [v for v in self._versions if v.ignores(word) or v.plan(word) is not None]
        arrival = Arrival(
            provider=self._provider.name,
            received_time=self._received_time,
            customers=self._customers,
            raw_ref=None if self._raw_ref is None else f"{self._raw_ref}#{index}",
            schema_fingerprint=fingerprint(item),
        )
        problem: Misfit | None = None
        for version in known or self._versions:
            try:
                return _made(version, word, item, arrival)
            except Misfit as misfit:
                problem = problem or misfit
        if problem is None:
            problem = Misfit("no_mapping", "this version has no mapping for the provider")
        raise problem

    def _rejected(self, item: Any, index: int, word: str | None, misfit: Misfit) -> Rejected:
        return Rejected(
            provider=self._provider.name,
            reason=misfit.reason,
            detail=misfit.detail,
            path=misfit.path,
            index=index,
            provider_event=word,
            payload=as_json(item),
            received_time=self._received_time,
            raw_ref=None if self._raw_ref is None else f"{self._raw_ref}#{index}",
            schema_fingerprint=None if isinstance(item, Unreadable) else fingerprint(item),
            mapping_version=self._versions[0].label if self._versions else None,
        )


def _made(version: Version, word: str, item: dict[str, Any], arrival: Arrival) -> Event | None:
    plan = version.plan(word)
    if plan is None and version.ignores(word):
        return None
    return version.event(plan or version.unknown, word, item, arrival)
