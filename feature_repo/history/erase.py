"""Forget a person: everywhere, in all versions, with a receipt.

Stores are gone through from where events come in to where they end up, so that what is on its way
is caught further down, and again until a whole pass finds nothing. A run that is killed is run
again: what was removed is gone, and the rest is found as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import redis

from feature_repo import addresses
from feature_repo.history import erase_files, erase_online
from feature_repo.history.erase_log import erase_from_log
from feature_repo.history.erase_pending import Pending
from feature_repo.history.erase_person import Person
from feature_repo.history.erase_raw import RawEraser
from feature_repo.history.erase_tables import erase_from_tables
from feature_repo.history.erasure_receipt import Receipt, write_receipt
from feature_repo.history.log import EventLog
from feature_repo.ingest.drift.quarantine import Quarantine
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.settings import Settings
from feature_repo.sole import only_one
from feature_repo.stream.port import EVENTS, Queue, Stream
from feature_repo.stream.redis_streams_link import Link
from feature_repo.stream.score_streams import SCORE_STREAMS
from feature_repo.stream.settings import load_queue_settings

MOST_PASSES: Final = 5

KAFKA_NOTE: Final = (
    "Kafka keeps messages until its retention ends; single ones cannot be taken out. Set the "
    "topics' retention.ms to what you may keep."
)
STILL_COMING: Final = (
    "Events of the customer kept arriving. Stop sending to the customer, then erase again."
)
NOT_DRAINED: Final = (
    "The queue was not finished in time; Redis may keep bytes of removed messages until the "
    "messages beside them are gone."
)
NOT_REWRITTEN: Final = "Redis did not finish writing its file anew in time; it will."
OFFLINE: Final = "The online store and the queue were not looked at."


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """The online store and the queue of an installation."""

    client: redis.Redis
    queue: Queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Everything that may hold something of a person."""

    settings: Settings
    ingest: IngestSettings
    #: None: left out, and the receipt says so.
    online: Online | None

    @contextmanager
    def raw(self) -> Iterator[tuple[RawStore, RawEraser]]:
        """The raw store."""
        store = RawStore(self.settings.raw_path)
        try:
            catalog = Catalog.load(self.settings.mappings_path)
            yield store, RawEraser(store, self.ingest, catalog)
        finally:
            store.close()

    @contextmanager
    def quarantine(self) -> Iterator[Quarantine]:
        """The quarantine of the ingest service."""
        quarantine = Quarantine(self.settings)
        try:
            yield quarantine
        finally:
            quarantine.close()

    def link(self, stream: Stream = EVENTS) -> Link | None:
        """A stream of the queue, where it is on Redis Streams."""
        if self.online is None or self.settings.queue != "redis":
            return None
        url = addresses.redis_url(self.settings)
        return Link(url, self.settings.project, load_queue_settings(), stream)

    def score_links(self) -> list[Link]:
        """The streams of requests and scores, where they are on Redis Streams."""
        found = (self.link(stream) for stream in SCORE_STREAMS)
        return [link for link in found if link is not None]


def erase(
    stores: Stores,
    customer_id: str,
    *,
    emails: Sequence[str] = (),
    clock: Callable[[], datetime],
    wait_s: float = 60.0,
    progress: Callable[[str], None] = lambda step: None,
) -> tuple[Receipt, Path]:
    """Remove the customer from every store; the receipt and the file it is in.

    `emails`: addresses of the customer besides those that the raw store's events tell.

    Raises:
        StoreUnavailable: another erasure, a build or a writer did not let go within `wait_s`, or
            Redis does not answer. Run it again: it goes on where it stopped.
    """
    settings = stores.settings
    with only_one(settings, "erasure"):
        pending = Pending.open(settings.receipts_path, customer_id, clock())
        with stores.raw() as (_, raw):
            progress("finding addresses")
            person = raw.discover(Person(customer_id).known_by(emails), pending.knows)
        pending.remember(person)
        notes = [
            *_passes(stores, person, pending, wait_s, progress),
            *_settle(stores, wait_s, progress),
        ]
        receipt = Receipt(
            id=pending.id,
            salt=pending.salt,
            customer_hash=pending.customer_hash,
            started_at=pending.started_at,
            erased_at=clock(),
            stores=dict(pending.stores),
            addresses=len(person.addresses),
            log_version=EventLog(settings.log_path).snapshot().version,
            notes=notes,
        )
        path = write_receipt(settings.receipts_path, receipt)
        pending.finish()
    return receipt, path


def _passes(
    stores: Stores,
    person: Person,
    pending: Pending,
    wait_s: float,
    progress: Callable[[str], None],
) -> list[str]:
    for _ in range(MOST_PASSES):
        found = 0
        for store, erased in _one_pass(stores, person, wait_s):
            pending.count(store, erased)
            progress(store)
            found += erased
        if not found:
            return []
    return [STILL_COMING]


def _one_pass(stores: Stores, person: Person, wait_s: float) -> Iterator[tuple[str, int]]:
    settings = stores.settings
    with stores.raw() as (_, raw):
        yield "raw records", raw.erase(person, wait_s=wait_s)
    with stores.quarantine() as quarantine:
        yield (
            "quarantined events",
            quarantine.erase(lambda entry: is_quarantined(person, entry.payload)),
        )
    yield "quarantined rows", erase_files.erase_from_lines(settings.quarantine_path, person)
    link = stores.link()
    if link is not None:
        yield "queued messages", erase_online.erase_from_stream(link, person)
        yield "queued scores", erase_online.erase_from_scores(stores.score_links(), person)
    if stores.online is not None:
        yield "dead letters", erase_online.erase_from_letters(stores.online.queue, person)
    rows, event_ids = erase_from_log(settings, person, wait_s=wait_s)
    yield "log rows", rows
    for view, erased in erase_from_tables(settings, person, wait_s=wait_s):
        yield f"{view} rows", erased
    if stores.online is not None:
        client = stores.online.client
        erased = erase_online.erase_from_redis(settings, client, person, event_ids)
        yield "online entries", erased
    yield "predictions", erase_files.erase_from_parquet(settings.predictions_path, person)
    yield "audience rows", erase_files.erase_from_parquet(settings.audience_path, person)


def is_quarantined(person: Person, payload: bytes) -> bool:
    """Whether a quarantined event is about the person; an id that is not distinct counts whole."""
    quoted = f'"{person.customer_id}"'.encode()
    return person.is_in_bytes(payload) or quoted in payload


def _settle(stores: Stores, wait_s: float, progress: Callable[[str], None]) -> Iterator[str]:
    """Have Redis forget what was deleted in it; what could not be done."""
    if stores.online is None:
        yield OFFLINE
        return
    if stores.settings.queue == "kafka":
        yield KAFKA_NOTE
    else:
        progress("waiting for the queue")
        if not erase_online.drain(stores.online.queue, wait_s):
            yield NOT_DRAINED
    progress("rewriting Redis' file")
    if not erase_online.rewrite_files(stores.online.client, wait_s):
        yield NOT_REWRITTEN
