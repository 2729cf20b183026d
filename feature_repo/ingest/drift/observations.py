"""Observations: changes of structure, kept once each with when they were first and last seen."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from feature_repo.ingest.drift.profile import Batch, Change, Kind, totals

MOST_OBSERVATIONS: Final = 2000
"""Observations kept of a provider, so that a hostile one does not fill the disk."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS observations (
  id TEXT PRIMARY KEY, provider TEXT NOT NULL, word TEXT NOT NULL, kind TEXT NOT NULL,
  path TEXT NOT NULL, detail TEXT NOT NULL, first_seen TEXT NOT NULL, last_seen TEXT NOT NULL,
  count INTEGER NOT NULL, over INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS observations_by_word ON observations (provider, word);
"""

COLUMNS: Final = "id, provider, word, kind, path, detail, first_seen, last_seen, count, over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One change of structure. Holds paths and types, never a value."""

    id: str
    provider: str
    word: str
    kind: Kind
    path: str
    detail: str
    first_seen: datetime
    last_seen: datetime
    #: Events that showed it.
    count: int
    #: A vanished path that came back.
    over: bool


def bring_up_to_date(
    connection: sqlite3.Connection, provider: str, word: str, batch: Batch
) -> None:
    """Count on for what was observed before."""
    rows = connection.execute(
        "SELECT id, kind, path, detail FROM observations "
        "WHERE provider = ? AND word = ? AND NOT over AND kind <> ?",
        (provider, word, Kind.NULL_RATE_JUMP),
    ).fetchall()
    seen, types = totals(batch)
    last = batch.last_at.astimezone(UTC).isoformat()
    for id_, kind, path, detail in rows:
        more = {
            Kind.NEW_WORD: batch.events,
            Kind.NEW_PATH: seen.get(path, (0, 0))[0],
            Kind.RETYPED_PATH: types.get((path, detail.rpartition(" -> ")[2]), 0),
            Kind.VANISHED_PATH: 0 if path in seen else batch.events,
        }.get(Kind(kind), 0)
        if more:
            connection.execute(
                "UPDATE observations SET count = count + ?, last_seen = ? WHERE id = ?",
                (more, last, id_),
            )


def observed(provider: str, word: str, change: Change, batch: Batch) -> Observation:
    """The observation a change makes."""
    # A path may be retyped more than once; everything else happens to it once.
    extra = change.detail if change.kind is Kind.RETYPED_PATH else ""
    name = "\0".join((provider, word, change.kind, change.path, extra))
    return Observation(
        id=hashlib.sha256(name.encode()).hexdigest()[:12],
        provider=provider,
        word=word,
        kind=change.kind,
        path=change.path,
        detail=change.detail,
        first_seen=batch.first_at,
        last_seen=batch.last_at,
        count=change.count,
        over=change.detail == "returned",
    )


def store(connection: sqlite3.Connection, one: Observation) -> bool:
    """Whether it is the first of its kind; an old one is brought up to date."""
    last = one.last_seen.astimezone(UTC).isoformat()
    known = connection.execute(
        "UPDATE observations SET last_seen = ?, count = count + ?, over = ?, "
        "detail = CASE WHEN ? THEN detail ELSE ? END WHERE id = ?",
        (last, one.count, one.over, one.over, one.detail, one.id),
    ).rowcount
    if known or one.over:
        return False
    query = "SELECT count(*) FROM observations WHERE provider = ?"
    if connection.execute(query, (one.provider,)).fetchone()[0] >= MOST_OBSERVATIONS:
        return False
    first = one.first_seen.astimezone(UTC).isoformat()
    connection.execute(
        f"INSERT INTO observations ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(one.id, one.provider, one.word, one.kind, one.path, one.detail),
            *(first, last, one.count, one.over),
        ),
    )
    return True


def observation(row: tuple[str, str, str, str, str, str, str, str, int, int]) -> Observation:
    """The observation of a row of COLUMNS."""
    id_, provider, word, kind, path, detail, first, last, count, over = row
    return Observation(
        id=id_,
        provider=provider,
        word=word,
        kind=Kind(kind),
        path=path,
        detail=detail,
        first_seen=datetime.fromisoformat(first),
        last_seen=datetime.fromisoformat(last),
        count=count,
        over=bool(over),
    )
