"""A local index of what the log holds: is this row known, is its event known.

Derived from the log and never ahead of it: rows are added after their Delta commit, in one
transaction with the position they reach. Whoever opens it after a crash finds it behind and adds
what is missing (`log_catch_up`). A key is a hash of the event_id followed by one of the content, so
that one look at neighbouring keys answers both questions. Every use happens under the log's lock.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feature_repo.errors import StoreUnavailable
from feature_repo.history.log_content import CONTENT_BYTES, ID_BYTES
from feature_repo.history.log_index_trust import Trust, boot_id

FILE: Final = "log_index.db"
"""Under `settings.state_path`."""

_CACHE_KIB: Final = 32_768
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS corrected (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS covered (
  one INTEGER PRIMARY KEY CHECK (one = 1), log TEXT, position INTEGER, version INTEGER);
"""
_LAST: Final = b"\xff" * (CONTENT_BYTES + 1)


@dataclass(frozen=True, slots=True)
class Covered:
    """How much of which log is in the index."""

    #: Delta's id of the table; None: there was no log yet.
    log: str | None = None
    #: Greatest log_pos whose row is in the index, -1 for none.
    position: int = -1
    #: A Delta version of which every row is in the index, -1 for none.
    version: int = -1


class LogIndex:
    """The index file of an installation."""

    def __init__(self, state_path: Path, *, boot: str | None = None) -> None:
        """`boot`: what names this start of the system, if not what the system says."""
        state_path.mkdir(parents=True, exist_ok=True)
        self.path = state_path / FILE
        boot = boot or boot_id()
        note = self.path.with_suffix(".boot")
        self._trust = None if boot is None else Trust(note, boot, self._delete)
        # The worker that uses it need not be the thread that made it; the log's lock keeps order.
        self._con = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=60.0
        )
        with _answers(self.path):
            self._con.execute("PRAGMA journal_mode = wal")
            # Without a note, a power cut may cost the last transactions: they are in the log.
            waits = "normal" if self._trust is None else "off"
            self._con.execute(f"PRAGMA synchronous = {waits}")
            self._con.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._con.execute("PRAGMA secure_delete = on")
            self._con.executescript(_SCHEMA)

    def covered(self) -> Covered | None:
        """What the index covers; None: it is new, or was said to be wrong."""
        with _answers(self.path):
            row = self._con.execute("SELECT log, position, version FROM covered").fetchone()
        return None if row is None else Covered(*row)

    def contents(self, id_keys: Iterable[bytes]) -> dict[bytes, set[bytes]]:
        """For each event key, the content parts of its rows; without those that have none."""
        query = "SELECT key FROM rows WHERE key BETWEEN ? AND ?"
        held = {}
        with _answers(self.path):
            # In order: neighbours share pages.
            for key in sorted(id_keys):
                found = self._con.execute(query, (key, key + _LAST)).fetchall()
                if found:
                    held[key] = {row[0][ID_BYTES:] for row in found}
        return held

    def add(self, keys: Iterable[bytes], corrected: Iterable[str], covered: Covered) -> None:
        """Add rows, note the events they corrected, and say how far the index reaches now."""
        with self._transaction():
            self._con.executemany(
                "INSERT OR IGNORE INTO rows VALUES (?)", ((key,) for key in sorted(keys))
            )
            self._note(corrected)
            self._cover(covered)

    def add_sorted(
        self, keys: Iterable[bytes], corrected: Iterable[str], covered: Covered, *, anew: bool
    ) -> None:
        """Add any number of keys that come in their order; `anew`: and nothing else is held."""
        with self._transaction():
            if anew:
                self._con.execute("DELETE FROM covered")
                self._con.execute("DELETE FROM rows")
            self._con.executemany("INSERT OR IGNORE INTO rows VALUES (?)", ((k,) for k in keys))
            self._note(corrected)
            self._cover(covered)
        with _answers(self.path):
            self._con.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def cover(self, covered: Covered) -> None:
        """Say that a newer version has nothing that is not in the index."""
        with self._transaction():
            self._cover(covered)

    def corrections(self) -> list[str]:
        """Ids of events that were corrected or withdrawn and not handed over yet."""
        with _answers(self.path):
            return [row[0] for row in self._con.execute("SELECT event_id FROM corrected")]

    def handed_over(self, event_ids: Iterable[str]) -> None:
        """Forget corrections that someone else remembers now."""
        with self._transaction():
            self._con.executemany(
                "DELETE FROM corrected WHERE event_id = ?", ((e,) for e in event_ids)
            )

    def distrust(self) -> None:
        """Have the index made anew before it is used again."""
        with self._transaction():
            self._con.execute("DELETE FROM covered")

    def remove(self, id_keys: Iterable[bytes], event_ids: Iterable[str], covered: Covered) -> None:
        """Take events out as if they had never been, from the file's free pages too."""
        with self._transaction():
            self._con.executemany(
                "DELETE FROM rows WHERE key BETWEEN ? AND ?", ((k, k + _LAST) for k in id_keys)
            )
            self._con.executemany(
                "DELETE FROM corrected WHERE event_id = ?", ((e,) for e in event_ids)
            )
            self._cover(covered)
        with _answers(self.path):
            self._con.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Release the file; the last one to do so puts it on the disk."""
        if self._trust is not None:
            self._trust.release(self._make_durable)
        self._con.close()

    def _delete(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    def _make_durable(self) -> None:
        with _answers(self.path):
            self._con.execute("PRAGMA synchronous = full")
            self._con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _note(self, corrected: Iterable[str]) -> None:
        self._con.executemany(
            "INSERT OR IGNORE INTO corrected VALUES (?)", ((e,) for e in corrected)
        )

    def _cover(self, covered: Covered) -> None:
        self._con.execute(
            "INSERT OR REPLACE INTO covered VALUES (1, ?, ?, ?)",
            (covered.log, covered.position, covered.version),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _answers(self.path):
            self._con.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._con.execute("COMMIT")
            finally:
                if self._con.in_transaction:
                    self._con.execute("ROLLBACK")


@contextmanager
def _answers(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as exc:
        message = (
            f"The index of the event log {path} cannot be used ({exc}). Free disk space; a damaged "
            "file may be deleted, it is made anew from the log."
        )
        raise StoreUnavailable(message) from exc
