"""Where a backfill takes events from: the raw store, mapped anew, or files.

Both fill the temporary table `restated`: the EVENTS columns, and `ordinal`, in whose order the
source says things. What does not fit in memory is spilled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import duckdb

from feature_repo.event import Event
from feature_repo.history import duck
from feature_repo.history.log_catch_up import Progress
from feature_repo.history.log_rows import event_rows
from feature_repo.history.schema import EVENTS
from feature_repo.ingest import importer, outcome, parse
from feature_repo.ingest.inbound import MISTAKES
from feature_repo.ingest.known_at import KnownAt, KnownFrom
from feature_repo.ingest.mapping import Mapping
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.rejected import Rejected
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.catalog import Catalog
from feature_repo.ingest.webhook.errors import UnknownProvider, UnreadableBody
from feature_repo.settings import Settings

SETTLED: Final = timedelta(minutes=10)
"""Raw records younger than this may still be on their way into the log."""

ERASED: Final = b"null"
"""What stands in a body in the place of an event that was erased."""

_BATCH: Final = 20_000
_COLUMNS: Final = ", ".join(EVENTS.names)


@dataclass(frozen=True, slots=True)
class Restated:
    """A connection with the table `restated`, and what did not get into it."""

    con: duckdb.DuckDBPyConnection
    #: Events that fit no mapping, or rows that make no event, by reason.
    rejected: dict[str, int]


class Source(Protocol):
    """Something that states events."""

    @property
    def known_at(self) -> KnownAt:
        """When events are said to be known that the log never heard of."""

    @property
    def is_raw(self) -> bool:
        """Whether it is the raw store: then what others corrected since is not overruled."""

    def open(
        self, settings: Settings, now: datetime, progress: Progress
    ) -> AbstractContextManager[Restated]:
        """State them; the table lasts as long as the context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSource:
    """The raw store, or the part of it that was received in [since, until)."""

    ingest: IngestSettings
    since: datetime | None = None
    until: datetime | None = None
    known_at: KnownAt = field(default=KnownAt(KnownFrom.NOW))
    is_raw: bool = True

    @contextmanager
    def open(self, settings: Settings, now: datetime, progress: Progress) -> Iterator[Restated]:
        """Map the records with today's mappings."""
        rejected: Counter[str] = Counter()
        catalog = Catalog.load(settings.mappings_path)
        store = RawStore(settings.raw_path)
        until = min(self.until or now, now - SETTLED)
        try:
            with duck.connect(settings) as con:
                _create(con)
                events: list[Event] = []
                seen = 0
                for record in _between(store, self.since, until):
                    for found in parse_record(record, self.ingest, catalog):
                        if isinstance(found, Event):
                            events.append(found)
                        elif found.payload != ERASED:
                            rejected[found.reason] += 1
                    seen += 1
                    if len(events) >= _BATCH:
                        _insert(con, events)
                        events = []
                        progress("mapping the raw store", seen, None)
                _insert(con, events)
                progress("mapping the raw store", seen, seen)
                yield Restated(con, dict(rejected))
        finally:
            store.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """Files as `foresend import` takes them."""

    files: Sequence[Path]
    mapping: Mapping | None = None
    known_at: KnownAt = field(default=KnownAt(KnownFrom.NOW))
    is_raw: bool = False

    @contextmanager
    def open(self, settings: Settings, now: datetime, progress: Progress) -> Iterator[Restated]:
        """Read the files as an import would."""
        with importer.staged(
            settings, self.files, self.mapping, self.known_at, now, progress
        ) as work:
            rejected = outcome.reasons(work.con, "bad")
            _create(work.con)
            importer.good_events(work.con, work.plan).create_view("stated")
            work.con.execute(
                f"INSERT INTO restated SELECT {_COLUMNS}, row_number() OVER () FROM stated"
            )
            yield Restated(work.con, rejected)


def _create(con: duckdb.DuckDBPyConnection) -> None:
    con.from_arrow(EVENTS.empty_table()).create_view("events_like")
    con.execute("CREATE TEMP TABLE restated AS SELECT *, 0::BIGINT AS ordinal FROM events_like")


def _insert(con: duckdb.DuckDBPyConnection, events: Sequence[Event]) -> None:
    if not events:
        return
    con.register("arrived", event_rows(events))
    con.execute(
        f"INSERT INTO restated SELECT {_COLUMNS}, "
        "(SELECT count(*) FROM restated) + row_number() OVER () FROM arrived"
    )
    con.unregister("arrived")


def _between(store: RawStore, since: datetime | None, until: datetime) -> Iterator[RawRecord]:
    for _, record in store.records():
        if (since is None or record.received_time >= since) and record.received_time < until:
            yield record


def parse_record(
    record: RawRecord, ingest: IngestSettings, catalog: Catalog
) -> Sequence[Event | Rejected]:
    """The events of a record; a body that cannot be read is one rejected event."""
    try:
        return parse(
            record.provider,
            record.body,
            dict(record.headers),
            ingest,
            received_time=record.received_time,
            raw_ref=record.ref,
            verified=True,
            catalog=catalog,
        )
    except UnreadableBody:
        return [_unusable(record, "unreadable_body")]
    except UnknownProvider:
        return [_unusable(record, "unknown_provider")]
    except MISTAKES:
        return [_unusable(record, "mapping_broke")]


def _unusable(record: RawRecord, reason: str) -> Rejected:
    return Rejected(
        provider=record.provider,
        reason=reason,
        detail="",
        path="",
        index=0,
        provider_event=None,
        payload=record.body,
        received_time=record.received_time,
        raw_ref=record.ref,
        schema_fingerprint=None,
        mapping_version=None,
    )
