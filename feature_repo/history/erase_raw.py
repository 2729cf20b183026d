"""Erasure in the raw store: bodies are written anew without the person's events.

A body that was about nobody else goes as a whole. In one that holds several people's events, the
person's become null, so that the others keep their place, and what else names the person is
replaced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

from feature_repo.event import Event
from feature_repo.history.backfill_sources import ERASED, parse_record
from feature_repo.history.erase_person import Person, addresses_in
from feature_repo.history.log_content import content_hash
from feature_repo.ingest.inbound import MISTAKES
from feature_repo.ingest.providers.registry import find_provider
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.ingest.webhook.customers import address_digest, identities
from feature_repo.ingest.webhook.errors import UnknownProvider, UnreadableBody
from feature_repo.ingest.webhook.misfit import Misfit
from feature_repo.ingest.webhook.request import Request

_HASHED: Final = "e:"
_MOST_FIELDS: Final = 100


class RawEraser:
    """Finds and removes one person in the raw store."""

    def __init__(self, store: RawStore, ingest: IngestSettings, catalog: Catalog) -> None:
        self._store = store
        self._ingest = ingest
        self._catalog = catalog

    def discover(self, person: Person, is_known: Callable[[str], bool]) -> Person:
        """The person with the addresses that the store's events of his carry.

        `is_known`: whether an address was found by an earlier run that did not get to its end.
        """
        digests = self._digests(person)
        found: set[str] = set()
        for _, record in self._store.records():
            by_digest = {
                address
                for address in addresses_in(_searchable(record.body))
                if is_known(address) or _is_hashed(address, digests)
            }
            found |= by_digest
            if by_digest or person.customer_id.encode() in record.body:
                found |= self._recipients(record, person)
        return person.known_by(found)

    def erase(self, person: Person, *, wait_s: float) -> int:
        """Rewrite the segments that mention the person; the number of records changed.

        Raises:
            StoreUnavailable: a segment was in use for longer than `wait_s`.
        """
        return sum(
            self._store.rewrite(segment, lambda r: self.without(r, person), wait_s=wait_s)
            for segment in self._store.segments()
            if any(self.concerns(r, person) for _, r in self._store.records_of(segment))
        )

    def concerns(self, record: RawRecord, person: Person) -> bool:
        """Whether a record has anything of the person."""
        return self.without(record, person) is not record

    def without(self, record: RawRecord, person: Person) -> RawRecord | None:
        """The record without the person: itself if there is nothing, None if nothing else is."""
        text = _searchable(record.body)
        if not (person.customer_id.encode() in text or person.is_in_bytes(text)):
            return record
        outcomes = parse_record(record, self._ingest, self._catalog)
        own = {_index(one) for one in outcomes if _is_of(one, person)}
        content = _decoded(record.body)
        said = person.is_in_bytes(text) or (content is not None and person.is_in(content[1]))
        if not own and not said:
            return record
        others = [one for one in outcomes if not (_is_of(one, person) or _is_erased(one))]
        if content is None or not others:
            return None
        emptied = self._emptied(record, content, person, own)
        if self._says(emptied) == sorted(content_hash(e) for e in others if isinstance(e, Event)):
            return emptied
        # An event of somebody else names the person: it stays, without the name.
        return _record(record, content[0], _replaced(content[1], person))

    def _emptied(
        self, record: RawRecord, content: tuple[str, Any], person: Person, own: set[int]
    ) -> RawRecord:
        form, value = content
        items = find_provider(record.provider).unpack(_request(record))
        if isinstance(value, dict | list):
            _take_out(value, [items[index] for index in own])
        return _record(record, form, person.without(value))

    def _says(self, record: RawRecord) -> list[str]:
        found = parse_record(record, self._ingest, self._catalog)
        return sorted(content_hash(one) for one in found if isinstance(one, Event))

    def _digests(self, person: Person) -> frozenset[str]:
        """Beginnings of the digests of the addresses that stand for the customer."""
        found = set()
        if person.customer_id.startswith(_HASHED):
            found.add(person.customer_id.removeprefix(_HASHED))
        if self._ingest.identities is not None:
            table = identities(self._ingest.identities)
            found |= {digest for digest, owner in table.items() if owner == person.customer_id}
        return frozenset(found)

    def _recipients(self, record: RawRecord, person: Person) -> set[str]:
        """Addresses to which the person's events in a record were sent."""
        outcomes = parse_record(record, self._ingest, self._catalog)
        own = {_index(one) for one in outcomes if isinstance(one, Event) and _is_of(one, person)}
        if not own:
            return set()
        try:
            provider = find_provider(record.provider)
            items = provider.unpack(_request(record))
        except (UnknownProvider, UnreadableBody, *MISTAKES):
            return set()
        found = set()
        for index in own:
            word = provider.word(items[index])
            for version in self._catalog.versions(provider.mapped_as):
                plan, _ = version.meaning(word or "")
                try:
                    address = None if plan is None else plan.read("address", items[index])
                except Misfit:
                    continue
                if address:
                    found.add(str(address))
        return found


def _is_hashed(address: str, digests: frozenset[str]) -> bool:
    if not digests:
        return False
    digest = address_digest(address)
    return digest in digests or digest[:32] in digests


def _index(one: Event | Rejected) -> int:
    if isinstance(one, Rejected):
        return one.index
    return int((one.raw_ref or "#0").rpartition("#")[2])


def _is_of(one: Event | Rejected, person: Person) -> bool:
    if isinstance(one, Event):
        return one.customer_id in person.ids
    return person.is_in_bytes(one.payload)


def _is_erased(one: Event | Rejected) -> bool:
    return isinstance(one, Rejected) and one.payload == ERASED


def _searchable(body: bytes) -> bytes:
    """A body beside what it says when it is a form."""
    return body if b"%" not in body else body + b"\n" + unquote_to_bytes(body.replace(b"+", b" "))


def _request(record: RawRecord) -> Request:
    return Request.of(record.body, dict(record.headers))


def _decoded(body: bytes) -> tuple[str, Any] | None:
    """The content of a body, and how it was written: as json, or as a form with JSON in it."""
    try:
        return "json", json.loads(body)
    except (ValueError, RecursionError):
        pass
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return None
    return ("form", {name: _value(text) for name, text in pairs}) if pairs else None


def _value(text: str) -> Any:
    try:
        return json.loads(text) if text.startswith(("[", "{")) else text
    except ValueError:
        return text


def _record(record: RawRecord, form: str, content: Any) -> RawRecord:
    if form == "json":
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    else:
        body = urlencode(
            {n: v if isinstance(v, str) else json.dumps(v) for n, v in content.items()}
        )
    return replace(record, body=body.encode("utf-8", "surrogatepass"))


def _take_out(content: Any, items: Sequence[Any]) -> None:
    """Put null where the elements of a body are that became these events."""
    places = content.items() if isinstance(content, dict) else enumerate(content)
    for place, value in list(places):
        if any(_became(value, item) for item in items):
            content[place] = None
        elif isinstance(value, dict | list):
            _take_out(value, items)


def _became(element: Any, item: Any) -> bool:
    if isinstance(element, dict) and isinstance(item, dict):
        alike = (name in item and item[name] == value for name, value in element.items())
        return bool(element) and all(alike)
    return False


def _replaced(content: Any, person: Person) -> Any:
    """The content with mentions replaced where they stand, and no element taken out."""
    if isinstance(content, dict):
        return {person.without(key): _replaced(inner, person) for key, inner in content.items()}
    if isinstance(content, list):
        return [_replaced(inner, person) for inner in content]
    return person.without(content)
