"""Map the quarantine again and publish what fits: the same events once, however often it runs.

First published, then marked: a kill between the two publishes again next time, and the events'
identities make that harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from feature_repo.event import Event
from feature_repo.ingest.drift.quarantine import Entry, Quarantine
from feature_repo.ingest.raw.record import BadReference
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.ingest.webhook.errors import UnknownProvider, UnreadableBody
from feature_repo.ingest.webhook.parsing import parse, parse_payload
from feature_repo.stream.envelope import pack
from feature_repo.stream.port import Publisher

WHOLE_BODIES: Final = frozenset(
    ("unreadable_body", "unknown_provider", "mapping_broke", "raw_record_gone")
)
"""Reasons of entries that are not one event but the body of a delivery."""

_AT_ONCE: Final = 500

Outcome = list[Event | Rejected]


@dataclass(slots=True)
class Replayed:
    """What became of the entries that were tried."""

    tried: int = 0
    published: int = 0
    #: Entries that are no events for us by the present mappings.
    ignored: int = 0
    failed: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPorts:
    """What a replay talks to."""

    quarantine: Quarantine
    store: RawStore
    #: None: nothing is published and nothing marked, to see what would happen.
    publisher: Publisher | None
    settings: IngestSettings
    catalog: Catalog
    clock: Callable[[], datetime]


def replay(entries: Iterable[Entry], ports: ReplayPorts) -> Replayed:
    """Map the entries by the present mappings; received_time is now: they were of no use before.

    Raises:
        StoreUnavailable: queue or quarantine do not answer; run it again.
    """
    done = Replayed()
    waiting = iter(entries)
    while batch := list(islice(waiting, _AT_ONCE)):
        _replay_batch(batch, ports, done)
    return done


def _replay_batch(batch: Sequence[Entry], ports: ReplayPorts, done: Replayed) -> None:
    at = ports.clock()
    events: list[Event] = []
    finished: list[str] = []
    parts: list[Rejected] = []
    for entry in batch:
        done.tried += 1
        outcome = _mapped(entry, ports, at)
        failures = [found for found in outcome if isinstance(found, Rejected)]
        if _is_whole(entry) and len(failures) < max(len(outcome), 1):
            # The body can be read now: what fails of it are entries of their own.
            parts += failures
        elif failures:
            first = failures[0]
            done.failed[first.reason] = done.failed.get(first.reason, 0) + 1
            if ports.publisher is not None:
                ports.quarantine.explain(entry.id, first)
            continue
        found = [one for one in outcome if isinstance(one, Event)]
        done.published += len(found)
        done.ignored += not found
        events += found
        finished.append(entry.id)
    if ports.publisher is None:
        return
    if events:
        ports.publisher.publish(list(pack(events)))
    ports.quarantine.add(parts)
    ports.quarantine.mark_replayed(finished, at=at)


def _is_whole(entry: Entry) -> bool:
    return entry.reason in WHOLE_BODIES and entry.provider_event is None


def _mapped(entry: Entry, ports: ReplayPorts, at: datetime) -> Outcome:
    try:
        if _is_whole(entry):
            return _mapped_body(entry, ports, at)
        found = parse_payload(
            entry.provider,
            entry.payload,
            ports.settings,
            received_time=at,
            raw_ref=entry.raw_ref,
            catalog=ports.catalog,
        )
    except (UnknownProvider, UnreadableBody) as exc:
        reason = "unknown_provider" if isinstance(exc, UnknownProvider) else "unreadable_body"
        return [_still(entry, reason, str(exc))]
    return [] if found is None else [found]


def _mapped_body(entry: Entry, ports: ReplayPorts, at: datetime) -> Outcome:
    """The events of a delivery, with the headers that the raw store has of it."""
    headers: dict[str, str] = {}
    if entry.raw_ref is not None:
        try:
            headers = dict(ports.store.read(entry.raw_ref).headers)
        except BadReference as exc:
            return [_still(entry, "raw_record_gone", str(exc))]
    ref = None if entry.raw_ref is None else entry.raw_ref.partition("#")[0]
    return parse(
        entry.provider,
        entry.payload,
        headers,
        ports.settings,
        received_time=at,
        raw_ref=ref,
        verified=True,
        catalog=ports.catalog,
    )


def _still(entry: Entry, reason: str, detail: str) -> Rejected:
    return Rejected(
        provider=entry.provider,
        reason=reason,
        detail=detail,
        path="",
        index=entry.index,
        provider_event=entry.provider_event,
        payload=entry.payload,
        received_time=entry.first_seen,
        raw_ref=entry.raw_ref,
        schema_fingerprint=entry.fingerprint,
        mapping_version=entry.mapping_version,
    )
