"""The quarantine: foreign events that fit no mapping, kept until they do.

An entry is identified by where it came from and what it says, so that mapping the same raw bytes
again adds nothing. The payload is personal data; everything else is fit to be shown and logged.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from feature_repo.errors import StoreUnavailable
from feature_repo.ingest.drift.database import Database
from feature_repo.ingest.drift.metrics import DriftMetrics, unexposed
from feature_repo.ingest.rejected import Rejected
from feature_repo.settings import Settings

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
  position INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  provider TEXT NOT NULL,
  provider_event TEXT,
  reason TEXT NOT NULL,
  path TEXT NOT NULL,
  detail TEXT NOT NULL,
  raw_ref TEXT,
  position_in_body INTEGER NOT NULL,
  fingerprint TEXT,
  mapping_version TEXT,
  first_seen TEXT NOT NULL,
  status TEXT NOT NULL,
  status_at TEXT NOT NULL,
  payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_by_group
  ON entries (status, provider, provider_event, reason, path);
"""
_COLUMNS: Final = (
    "id, provider, provider_event, reason, path, detail, raw_ref, position_in_body, fingerprint, "
    "mapping_version, first_seen, status, payload"
)
_PAGE: Final = 200


class Status(StrEnum):
    """What became of an entry."""

    OPEN = "open"
    REPLAYED = "replayed"  #: its events are in the queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One foreign event in quarantine."""

    id: str
    provider: str
    provider_event: str | None
    reason: str
    path: str
    detail: str
    raw_ref: str | None
    index: int
    fingerprint: str | None
    mapping_version: str | None
    #: When the installation first held it.
    first_seen: datetime
    status: Status
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Open entries that failed alike."""

    provider: str
    provider_event: str | None
    reason: str
    path: str
    count: int
    first_seen: datetime
    last_seen: datetime
    #: One of them, to look at.
    example: str

    @property
    def id(self) -> str:
        """What names the group on the command line."""
        parts = (self.provider, self.provider_event, self.reason, self.path)
        return "g" + hashlib.sha256(repr(parts).encode()).hexdigest()[:7]


class Quarantine:
    """The entries of an installation. Any number of processes may use it at once."""

    def __init__(self, settings: Settings, *, metrics: DriftMetrics | None = None) -> None:
        self._metrics = metrics or unexposed()
        self._database = Database(settings.state_path / "quarantine.db", _SCHEMA)
        # Asked for when it is read: other processes add and replay too.
        self._metrics.open.set_function(self._open_now)

    def add(self, rejected: Sequence[Rejected]) -> int:
        """Keep these for good; returns how many were not known yet.

        An open entry that failed for another reason than before gets the new reason; one that was
        replayed stays replayed.

        Raises:
            StoreUnavailable: nothing was kept.
        """
        if not rejected:
            return 0
        new = []
        with self._database.writing() as connection:
            for one in rejected:
                if connection.execute(_INSERT, _row(one)).rowcount == 1:
                    new.append(one)
                else:
                    connection.execute(_UPDATE, _reason(one))
        for one in new:
            self._metrics.quarantined.labels(one.provider, one.reason).inc()
        return len(new)

    def groups(self) -> list[Group]:
        """Open entries by provider, word, reason and path; the largest group first."""
        with self._database.reading() as connection:
            rows = connection.execute(_GROUPS).fetchall()
        return [
            Group(
                provider=provider,
                provider_event=word,
                reason=reason,
                path=path,
                count=count,
                first_seen=datetime.fromisoformat(first),
                last_seen=datetime.fromisoformat(last),
                example=example,
            )
            for provider, word, reason, path, count, first, last, example in rows
        ]

    def entries(
        self,
        *,
        provider: str | None = None,
        reason: str | None = None,
        id: str | None = None,
        status: Status | None = Status.OPEN,
    ) -> Iterator[Entry]:
        """Entries in the order they came. Read in pages: changing them meanwhile is fine."""
        wanted = {"provider": provider, "reason": reason, "id": id, "status": status}
        given = {name: value for name, value in wanted.items() if value is not None}
        where = " AND ".join(f"{name} = :{name}" for name in given) or "true"
        query = (
            f"SELECT position, {_COLUMNS} FROM entries "
            f"WHERE {where} AND position > :after ORDER BY position LIMIT {_PAGE}"
        )
        after = 0
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(query, {**given, "after": after}).fetchall()
            if not rows:
                return
            yield from (_entry(row[1:]) for row in rows)
            after = rows[-1][0]

    def count(self) -> int:
        """Open entries."""
        with self._database.reading() as connection:
            query = "SELECT count(*) FROM entries WHERE status = ?"
            number: int = connection.execute(query, (Status.OPEN,)).fetchone()[0]
        return number

    def mark_replayed(self, ids: Sequence[str], *, at: datetime) -> int:
        """These are events now; returns how many were open."""
        query = "UPDATE entries SET status = ?, status_at = ? WHERE id = ? AND status = ?"
        rows = [(Status.REPLAYED, _text(at), id, Status.OPEN) for id in ids]
        with self._database.writing() as connection:
            before = connection.total_changes
            connection.executemany(query, rows)
            return connection.total_changes - before

    def explain(self, id: str, rejected: Rejected) -> None:
        """An open entry failed again: keep the newest reason."""
        word, reason, path, detail, version, _ = _reason(rejected)
        with self._database.writing() as connection:
            connection.execute(_UPDATE, (word, reason, path, detail, version, id))

    def erase(self, concerns: Callable[[Entry], bool]) -> int:
        """Delete the entries, of any status, for which this is true, and every trace on disk.

        Raises:
            StoreUnavailable: not all traces are gone; erase again.
        """
        doomed = [(entry.id,) for entry in self.entries(status=None) if concerns(entry)]
        if doomed:
            with self._database.writing() as connection:
                connection.executemany("DELETE FROM entries WHERE id = ?", doomed)
        # Also when nothing is left to delete: an earlier try may have been stopped half way.
        self._database.forget_deleted()
        return len(doomed)

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def _open_now(self) -> float:
        try:
            return float(self.count())
        except StoreUnavailable:
            return math.nan


def entry_id(rejected: Rejected) -> str:
    """Equal for the same event of the same body, however often and for whatever reason it fails."""
    place = f"{rejected.provider}\0{rejected.raw_ref or ''}\0{rejected.index}\0"
    return hashlib.sha256(place.encode() + rejected.payload).hexdigest()[:16]


_INSERT: Final = (
    "INSERT INTO entries (id, provider, provider_event, reason, path, detail, raw_ref, "
    "position_in_body, fingerprint, mapping_version, first_seen, status, status_at, payload) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
)
_UPDATE: Final = (
    "UPDATE entries SET provider_event = ?, reason = ?, path = ?, detail = ?, mapping_version = ? "
    "WHERE id = ? AND status = 'open'"
)
_GROUPS: Final = """
SELECT provider, provider_event, reason, path, count(*), min(first_seen), max(first_seen), min(id)
FROM entries WHERE status = 'open'
GROUP BY provider, provider_event, reason, path
ORDER BY count(*) DESC, provider, provider_event, reason, path
"""


def _row(one: Rejected) -> tuple[object, ...]:
    seen = _text(one.received_time)
    return (
        *(entry_id(one), one.provider, _printable(one.provider_event), one.reason),
        *(_printable(one.path), _printable(one.detail), one.raw_ref, one.index),
        *(one.schema_fingerprint, one.mapping_version, seen, Status.OPEN, seen, one.payload),
    )


def _reason(one: Rejected) -> tuple[object, ...]:
    word, path, detail = (_printable(t) for t in (one.provider_event, one.path, one.detail))
    return (word, one.reason, path, detail, one.mapping_version, entry_id(one))


def _entry(row: sqlite3.Row | tuple[object, ...]) -> Entry:
    names = (
        *("id", "provider", "provider_event", "reason", "path", "detail", "raw_ref", "index"),
        *("fingerprint", "mapping_version", "first_seen", "status", "payload"),
    )
    values = dict(zip(names, row, strict=True))
    values["first_seen"] = datetime.fromisoformat(str(values["first_seen"]))
    values["status"] = Status(str(values["status"]))
    return Entry(**values)


def _printable(text: str | None) -> str | None:
    """Text that SQLite and a terminal take: foreign words may hold half a character."""
    return text if text is None else text.encode("utf-8", "replace").decode()[:500]


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
