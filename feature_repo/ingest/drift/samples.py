"""Payloads to compare: how a provider's events were when they fitted, and those in quarantine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from feature_repo.errors import ForesendError
from feature_repo.ingest.drift.quarantine import Quarantine
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.ingest.webhook.errors import UnreadableBody
from feature_repo.ingest.webhook.json_body import read_json
from feature_repo.ingest.webhook.parsing import parse

ENOUGH: Final = 500
"""Payloads of a word that are looked at."""

MOST_RECORDS: Final = 20_000
"""Raw records that are read to find them."""

Payload = Mapping[str, Any]


@dataclass(slots=True)
class Samples:
    """Payloads of one provider by its word."""

    fitting: dict[str, list[Payload]] = field(default_factory=dict)
    quarantined: dict[str, list[Payload]] = field(default_factory=dict)


def take_samples(
    provider: str,
    quarantine: Quarantine,
    store: RawStore,
    settings: IngestSettings,
    catalog: Catalog,
) -> Samples:
    """Of each word in quarantine, payloads that lie there and recent ones that fitted."""
    samples = Samples()
    for entry in quarantine.entries(provider=provider):
        if entry.provider_event is None:
            continue
        found = samples.quarantined.setdefault(entry.provider_event, [])
        payload = _read(entry.payload)
        if payload is not None and len(found) < ENOUGH:
            found.append(payload)
    wanted = samples.quarantined.keys()

    def observe(_provider: str, word: str | None, payload: Payload, ok: bool) -> None:
        if ok and word is not None and word in wanted:
            found = samples.fitting.setdefault(word, [])
            if len(found) < ENOUGH:
                found.append(payload)

    for record in _records(store, provider):
        if all(len(samples.fitting.get(word, ())) >= ENOUGH for word in wanted):
            break
        try:
            parse(
                provider,
                record.body,
                dict(record.headers),
                settings,
                received_time=record.received_time,
                verified=True,
                catalog=catalog,
                observe=observe,
            )
        except ForesendError:
            continue
    return samples


def values_by_path(payloads: list[Payload]) -> dict[str, list[Any]]:
    """The scalar values of each path, one per payload that has it; array elements by number.

    >>> values_by_path([{"a": {"b": 1}, "c": ["x"]}, {"a": {"b": 2}}])
    {'a.b': [1, 2], 'c.0': ['x']}
    """
    found: dict[str, list[Any]] = {}
    for payload in payloads:
        for path, value in _scalars(payload, "", 8):
            found.setdefault(path, []).append(value)
    return found


def _read(payload: bytes) -> Payload | None:
    try:
        content = read_json(payload)
    except UnreadableBody:
        return None
    return content if isinstance(content, dict) else None


def _records(store: RawStore, provider: str) -> Iterator[RawRecord]:
    """Records of the provider, newest segments first."""
    read = 0
    for segment in reversed(store.segments()):
        for _, record in store.records_of(segment):
            read += 1
            if read > MOST_RECORDS:
                return
            if record.provider == provider:
                yield record


def _scalars(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Paths as mappings write them; a key with a dot cannot be written, so it is left out."""
    if depth == 0:
        return
    if isinstance(value, dict):
        for key, inner in list(value.items())[:256]:
            if key and "." not in key and not key.isdecimal():
                yield from _scalars(inner, f"{path}.{key}" if path else key, depth - 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value[:3]):
            yield from _scalars(inner, f"{path}.{number}" if path else str(number), depth - 1)
    elif value is not None and path:
        yield path, value
