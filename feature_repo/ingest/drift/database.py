"""A small SQLite file of this installation: durable when a write returns, shared by processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from feature_repo.errors import StoreUnavailable

_PATIENCE_S: Final = 30.0
_BUSY: Final = "another process reads in it, so what was deleted is not yet wiped"


class Database:
    """One connection, used by one thread at a time; opened at the first use."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for questions.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with self._lock, self._translated():
            yield self._open()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection inside a transaction that is on disk when the block ends, or undone.

        Raises:
            StoreUnavailable: the disk is full, or another process holds the file for too long.
        """
        with self._lock, self._translated():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def forget_deleted(self) -> None:
        """Leave nothing of deleted rows in the file or in its log.

        Raises:
            StoreUnavailable: a process reads in it for too long; deleted rows are still there.
        """
        with self._lock, self._translated():
            connection = self._open()
            is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if is_busy:
                raise sqlite3.OperationalError(_BUSY)

    def close(self) -> None:
        """Release the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # What it holds came from customers: nobody else reads it.
            self._path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                self._path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            with closing(self._connection.cursor()) as cursor:
                cursor.execute("PRAGMA journal_mode=WAL")
                cursor.execute("PRAGMA synchronous=FULL")
                cursor.execute("PRAGMA secure_delete=ON")
                cursor.executescript(self._schema)
        return self._connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError) as exc:
            message = (
                f"{self._path} cannot be used: {exc}. Free disk space, or check who else uses it "
                "and who may write there; then try again."
            )
            raise StoreUnavailable(message) from exc
