"""Append micro-batches of events to the log, each event once, at a cost that does not grow.

The Delta commit comes first, then the index. A process killed between the two leaves rows that the
index lacks; the next append, by whomever, adds them before it decides what is known.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from filelock import FileLock, Timeout

from feature_repo.errors import StoreUnavailable
from feature_repo.event import Event, Op
from feature_repo.history.log import Appended, snapshot_of
from feature_repo.history.log_catch_up import Progress, catch_up
from feature_repo.history.log_content import ID_BYTES, content_hash, row_key
from feature_repo.history.log_files import (
    commit_files,
    commit_path,
    ensure_properties,
    newest_version,
    write_batch,
)
from feature_repo.history.log_index import Covered, LogIndex
from feature_repo.history.log_rows import log_rows
from feature_repo.history.log_upkeep import Upkeep, log_file
from feature_repo.settings import Settings

ARCHIVE: Final = "archive"
BACKFILL: Final = "backfill"


@dataclass(frozen=True, slots=True)
class _New:
    """An event on its way into the log."""

    event: Event
    #: Its content hash.
    content: str
    key: bytes


def silent(step: str, done: int, total: int | None) -> None:
    """A progress listener that does nothing."""


class LogWriter:
    """One way into the log. Any number may exist at once; the log's lock lets one in at a time.

    Not shared between threads.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        writer: str = ARCHIVE,
        lock_wait_s: float = 30.0,
        progress: Progress = silent,
        reached: Callable[[str], None] = lambda step: None,
    ) -> None:
        """`reached` is told each step of an append that is done: what a kill finds there."""
        self._settings = settings
        self._writer = writer
        self._progress = progress
        self._reached = reached
        self._folder = settings.log_path
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{self._folder}.lock", timeout=lock_wait_s)
        self._index = LogIndex(settings.state_path)
        self._upkeep = Upkeep(settings)
        self._table: DeltaTable | None = None
        # Also at the end of the process: an index that was closed in order survives a power cut.
        self._finalizer = weakref.finalize(self, self._index.close)

    def append(self, events: Sequence[Event]) -> Appended:
        """Append the events that the log does not hold yet, in their order; all or nothing.

        A row is known when the log ever held, or an earlier event of the batch has, the same
        event_id and content. On the disk when it returns.

        Raises:
            StoreUnavailable: disk or memory ran out, or another writer kept the log too long;
                nothing was appended, or all was and the next append knows it.
        """
        with self._exclusive():
            covered = self._refresh()
            if not events:
                return Appended(rows=0, known=0, version=_version(covered))
            fresh, corrected = self._sort_out(events)
            if not fresh:
                return Appended(rows=0, known=len(events), version=_version(covered))
            rows = log_rows(
                [new.event for new in fresh],
                [new.content for new in fresh],
                first_position=covered.position + 1,
            )
            version = self._commit(rows, fresh, corrected, covered)
            self._tend(rows, covered, version)
        return Appended(
            rows=len(fresh),
            known=len(events) - len(fresh),
            version=version,
            corrected=tuple(corrected),
        )

    def corrections(self) -> list[str]:
        """Ids of corrected or withdrawn events that `handed_over` was not told of yet.

        Survives the process: the note is made in the same step that makes the rows known.
        """
        return self._index.corrections()

    def handed_over(self, event_ids: Sequence[str]) -> None:
        """Someone else remembers these corrections now."""
        self._index.handed_over(event_ids)

    def close(self) -> None:
        """Release the index."""
        self._finalizer()

    def _sort_out(self, events: Sequence[Event]) -> tuple[list[_New], list[str]]:
        """The events that are new, and the ids of those among them that correct or withdraw."""
        rows = [_new(event) for event in events]
        held = self._index.contents({row.key[:ID_BYTES] for row in rows})
        fresh: list[_New] = []
        corrected: dict[str, None] = {}
        for row in rows:
            contents = held.setdefault(row.key[:ID_BYTES], set())
            if row.key[ID_BYTES:] in contents:
                continue
            if contents or row.event.op is Op.RETRACT:
                corrected[row.event.event_id] = None
            contents.add(row.key[ID_BYTES:])
            fresh.append(row)
        return fresh, list(corrected)

    def _commit(
        self, rows: pa.Table, fresh: Sequence[_New], corrected: Sequence[str], covered: Covered
    ) -> int:
        written = write_batch(rows, self._folder)
        self._reached("written")
        version = commit_files(self._folder, written, writer=self._writer, table=self._table)
        self._reached("committed")
        table = self._at(version)
        self._upkeep.note([log_file(self._folder, action) for action in written])
        log = table.metadata().id if covered.log is None else covered.log
        goal = Covered(log, covered.position + len(fresh), version)
        self._index.add([new.key for new in fresh], corrected, goal)
        self._reached("indexed")
        return version

    def _tend(self, rows: pa.Table, before: Covered, version: int) -> None:
        """Merge what has become many files, delete what nobody needs; the rows are safe already."""
        newest = version
        for group in self._upkeep.due(rows["event_month"].unique().to_pylist()):
            newest = self._upkeep.merge(self._at(newest), group)
            self._reached("merged")
        if self._upkeep.vacuum(self._at(newest), before.version, newest):
            newest = newest_version(self._folder, after=newest)
        self._at(newest)
        if newest != version:
            held = self._index.covered()
            if held is not None:
                self._index.cover(replace(held, version=newest))

    def _refresh(self) -> Covered:
        """See what others committed, and have the index cover it."""
        moved = self._open()
        held = self._index.covered()
        if self._table is None:
            empty = Covered()
            if held != empty:
                self._index.add_sorted((), (), empty, anew=True)
            return empty
        version = self._table.version()
        if held is not None and held.version == version and not moved:
            return held
        snapshot = snapshot_of(self._table)
        goal = Covered(self._table.metadata().id, snapshot.last_position, version)
        self._upkeep.look(self._table)
        if held is not None and (held.log, held.position) == (goal.log, goal.position):
            self._index.cover(goal)
        else:
            catch_up(self._settings, self._index, snapshot, goal, self._progress)
        return goal

    def _open(self) -> bool:
        """Hold the newest version of the table, if there is one; whether others made it."""
        table = self._table
        if table is None or not commit_path(self._folder, table.version()).exists():
            self._table = None
            if not DeltaTable.is_deltatable(str(self._folder)):
                return False
            ensure_properties(DeltaTable(str(self._folder)))
            self._table = DeltaTable(str(self._folder))
            return True
        newest = newest_version(self._folder, after=table.version())
        moved = newest > int(table.version())
        self._at(newest)
        return moved

    def _at(self, version: int) -> DeltaTable:
        """The table object at a version or a later one."""
        if self._table is None:
            self._table = DeltaTable(str(self._folder))
        elif self._table.version() < version:
            self._table.update_incremental()
        return self._table

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except Timeout as exc:
            message = (
                f"Another process has been writing to the event log {self._folder} for more than "
                f"{self._lock.timeout:.0f} s. Try again when it is done."
            )
            raise StoreUnavailable(message) from exc
        except (OSError, DeltaError) as exc:
            # What was done is seen by looking again.
            self._table = None
            message = (
                f"The event log {self._folder} cannot be written ({exc}). Free disk space under "
                f"{self._settings.home} and try again: nothing was half done."
            )
            raise StoreUnavailable(message) from exc


def _new(event: Event) -> _New:
    content = content_hash(event)
    return _New(event, content, row_key(event.event_id, content))


def _version(covered: Covered) -> int | None:
    return None if covered.version < 0 else covered.version
