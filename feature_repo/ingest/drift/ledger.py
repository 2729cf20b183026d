"""The drift ledger: how the structure of providers' payloads changed, and since when.

Cheap per event: payloads are counted by fingerprint in memory, and written with their paths every
few seconds. It is a record for people; when it cannot be written, events flow on.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Final

import msgspec
import structlog

from feature_repo.errors import StoreUnavailable
from feature_repo.ingest.drift.database import Database
from feature_repo.ingest.drift.fingerprint import fingerprint, key_name, paths
from feature_repo.ingest.drift.metrics import DriftMetrics, unexposed
from feature_repo.ingest.drift.observations import (
    COLUMNS,
    SCHEMA,
    Observation,
    bring_up_to_date,
    observation,
    observed,
    store,
)
from feature_repo.ingest.drift.profile import Batch, Change, Kind, Profile
from feature_repo.settings import Settings

FLUSH_S: Final = 5.0
MOST_WORDS: Final = 200
"""Words of a provider that are told apart; the others share one profile."""

MOST_LOGGED: Final = 20
"""Observations of one flush that are logged one by one."""

OTHER: Final = "(other)"
_MOST_PENDING_PATHS: Final = 200_000

_PROFILES: Final = """
CREATE TABLE IF NOT EXISTS profiles (
  provider TEXT NOT NULL, word TEXT NOT NULL, state BLOB NOT NULL, PRIMARY KEY (provider, word)
);
"""

_log: Final = structlog.get_logger()
_decoder: Final = msgspec.msgpack.Decoder(Profile)
_encoder: Final = msgspec.msgpack.Encoder()


@dataclass(slots=True)
class _Pending:
    """Payloads of a word since the last write."""

    structures: dict[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    fitting: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    def batch(self) -> Batch:
        """What was counted; there is something."""
        if self.first_at is None or self.last_at is None:
            message = "a batch has at least one payload"
            raise ValueError(message)
        structures = tuple((self.structures[f], count) for f, count in self.counts.items())
        return Batch(structures, self.first_at, self.last_at)


class Ledger:
    """The ledger of an installation; threads and processes may share it."""

    def __init__(
        self,
        settings: Settings,
        *,
        metrics: DriftMetrics | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = Database(settings.state_path / "drift.db", _PROFILES + SCHEMA)
        self._metrics = metrics or unexposed()
        self._monotonic = monotonic
        self._lock = Lock()
        self._pending: dict[tuple[str, str], _Pending] = {}
        self._pending_paths = 0
        self._flushed_at = monotonic()

    def observe(
        self, provider: str, word: str | None, payload: object, ok: bool, at: datetime
    ) -> None:
        """Count one payload; `ok` says whether it fitted a mapping, `at` when we received it."""
        found = fingerprint(payload)
        with self._lock:
            pending = self._pending.setdefault((provider, _word(word)), _Pending())
            if found not in pending.structures:
                pending.structures[found] = paths(payload)
                self._pending_paths += len(pending.structures[found]) + 1
            pending.counts[found] = pending.counts.get(found, 0) + 1
            pending.fitting += ok
            pending.first_at = pending.first_at or at
            pending.last_at = at
            due = self._monotonic() - self._flushed_at >= FLUSH_S
            full = self._pending_paths >= _MOST_PENDING_PATHS or len(self._pending) >= 4096
        if due or full:
            self.flush()

    def flush(self) -> None:
        """Write what was counted. Never raises: what cannot be written is tried again later."""
        with self._lock:
            pending, self._pending = self._pending, {}
            pending_paths, self._pending_paths = self._pending_paths, 0
            self._flushed_at = self._monotonic()
        if not pending:
            return
        try:
            fresh = self._write(pending)
        except StoreUnavailable as exc:
            self._metrics.unwritten.inc()
            _log.warning("drift_ledger_not_written", error=str(exc))
            self._keep(pending, pending_paths)
            return
        self._tell(pending, fresh)

    def observations(self, provider: str | None = None) -> list[Observation]:
        """What changed, in the order it was first seen."""
        query = f"SELECT {COLUMNS} FROM observations WHERE :provider IN ('', provider)"
        with self._database.reading() as connection:
            found = connection.execute(
                f"{query} ORDER BY first_seen, rowid", {"provider": provider or ""}
            )
            return [observation(row) for row in found.fetchall()]

    def profile(self, provider: str, word: str) -> Profile:
        """The usual structure of a word, as it was last written; empty when it is not known."""
        with self._database.reading() as connection:
            return _load(connection, provider, _word(word))[0]

    def close(self) -> None:
        """Write what was counted and release the file."""
        self.flush()
        self._database.close()

    def _tell(self, pending: dict[tuple[str, str], _Pending], fresh: list[Observation]) -> None:
        for (provider, _), counted in pending.items():
            failed = sum(counted.counts.values()) - counted.fitting
            self._metrics.seen.labels(provider, "yes").inc(counted.fitting)
            self._metrics.seen.labels(provider, "no").inc(failed)
        for one in fresh:
            self._metrics.observations.labels(one.provider, one.kind).inc()
        for one in fresh[:MOST_LOGGED]:
            place = {"provider": one.provider, "word": one.word, "path": one.path}
            _log.warning("drift_observed", kind=one.kind.value, detail=one.detail, **place)
        if len(fresh) > MOST_LOGGED:
            _log.warning("drift_observed_more", count=len(fresh) - MOST_LOGGED)

    def _keep(self, pending: dict[tuple[str, str], _Pending], pending_paths: int) -> None:
        """Take back what could not be written, unless memory has had enough."""
        with self._lock:
            if pending_paths + self._pending_paths < _MOST_PENDING_PATHS and not self._pending:
                self._pending, self._pending_paths = pending, pending_paths

    def _write(self, pending: dict[tuple[str, str], _Pending]) -> list[Observation]:
        fresh: list[Observation] = []
        with self._database.writing() as connection:
            known = {row[0] for row in connection.execute("SELECT provider FROM profiles")}
            for (provider, named), counted in pending.items():
                word = _told_apart(connection, provider, named)
                profile, is_new = _load(connection, provider, word)
                batch = counted.batch()
                bring_up_to_date(connection, provider, word, batch)
                changes = profile.absorb(batch)
                if is_new and provider in known:
                    first = Change(kind=Kind.NEW_WORD, path="", detail="", count=batch.events)
                    changes = [first, *changes]
                found = [observed(provider, word, change, batch) for change in changes]
                fresh += [one for one in found if store(connection, one)]
                connection.execute(
                    "INSERT OR REPLACE INTO profiles VALUES (?, ?, ?)",
                    (provider, word, _encoder.encode(profile)),
                )
        return fresh


def _word(word: str | None) -> str:
    """A provider's word, fit to be kept."""
    if word is None:
        return ""
    return key_name(word).strip('"')


def _told_apart(connection: sqlite3.Connection, provider: str, word: str) -> str:
    query = "SELECT count(*), max(word = ?) FROM profiles WHERE provider = ?"
    number, is_known = connection.execute(query, (word, provider)).fetchone()
    return OTHER if number >= MOST_WORDS and not is_known else word


def _load(connection: sqlite3.Connection, provider: str, word: str) -> tuple[Profile, bool]:
    query = "SELECT state FROM profiles WHERE provider = ? AND word = ?"
    row = connection.execute(query, (provider, word)).fetchone()
    return (Profile(), True) if row is None else (_decoder.decode(row[0]), False)
