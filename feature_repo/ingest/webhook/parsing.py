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
from feature_repo.ingest.machines.rules import load_rules
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
from feature_repo.ingest.webhook.version import Arrival, Plan, Version

Observe = Callable[[str, str | None, Mapping[str, Any], bool], None]
"""Told of each event: provider, word if there is one, payload, and whether it fitted."""


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
        self._rules = load_rules(settings.machines_path)
        self._received_time = received_time
        self._raw_ref = raw_ref
        self._observe = observe
        self._by_word: dict[str, list[tuple[Version, Plan | None]]] = {}

    def outcome(self, item: Any, index: int) -> Event | Rejected | None:
        """The event, why there is none, or None for what is no event for us.

        A null says nothing; one stands where an event was that has been erased.
        """
        if item is None:
            return None
        if not isinstance(item, dict):
            reason = "unreadable_event" if isinstance(item, Unreadable) else "not_an_object"
            what = "nested too deep" if isinstance(item, Unreadable) else shown(item)
            misfit = Misfit(f"the event is {what}, not an object", reason)
            return self._rejected(item, index, None, misfit)
        word = self._provider.word(item)
        try:
            event = self._event(item, index, word)
        except Misfit as misfit:
            self._tell(word, item, fits=False)
            return self._rejected(item, index, word, misfit)
        self._tell(word, item, fits=True)
        return None if event is None else label(event, self._provider.flags(item), self._rules)

    def _tell(self, word: str | None, item: dict[str, Any], *, fits: bool) -> None:
        if self._observe is not None:
            self._observe(self._provider.name, word, item, fits)

    def _event(self, item: dict[str, Any], index: int, word: str | None) -> Event | None:
        """The event by the newest version that fits, None when it is ignored.

        Raises:
            Misfit: no version fits.
        """
        if word is None:
            message = "nothing in the event says what happened"
            raise Misfit(message, "missing_type")
        arrival = Arrival(
            provider=self._provider.name,
            received_time=self._received_time,
            customers=self._customers,
            raw_ref=None if self._raw_ref is None else f"{self._raw_ref}#{index}",
            schema_fingerprint=fingerprint(item),
        )
        problem: Misfit | None = None
        for version, plan in self._choices(word):
            if plan is None:
                return None
            try:
                return version.event(plan, word, item, arrival)
            except Misfit as misfit:
                problem = problem or misfit
        if problem is None:
            message = "this version has no mapping for the provider"
            raise Misfit(message, "no_mapping")
        raise problem

    def _choices(self, word: str) -> list[tuple[Version, Plan | None]]:
        """Versions to try with what the word means in each; None: it is no event for us.

        If any version knows the word, those that do not are not asked.
        """
        found = self._by_word.get(word)
        if found is None:
            meanings = [(version, *version.meaning(word)) for version in self._versions]
            known = [(version, plan) for version, plan, is_known in meanings if is_known]
            found = known or [(version, plan) for version, plan, _ in meanings]
            self._by_word[word] = found
        return found

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
