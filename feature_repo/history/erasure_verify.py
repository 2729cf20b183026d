"""Look for a person who was erased, in every store and in the bytes of every file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from feature_repo import contract, online
from feature_repo.history import erase_files, erase_online
from feature_repo.history.erase import Stores, is_quarantined
from feature_repo.history.erase_person import Person
from feature_repo.history.log_files import PARTITION
from feature_repo.online_codec import all_columns
from feature_repo.stream import score_streams
from feature_repo.stream.online_epoch import owed_key

_CHUNK: Final = 1 << 20
_OVERLAP: Final = 1 << 10
_MOST_LETTERS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Trace:
    """Something of the person that is still there."""

    store: str
    #: File or record; says nothing of the person.
    place: str
    count: int


def search(stores: Stores, person: Person) -> Iterator[Trace]:
    """Every trace of the person, store by store, then file by file.

    Compressed files are read by what reads them: segments record by record, Parquet by column.
    The bytes of all files below home are searched besides, for addresses and a distinct id.
    """
    yield from _in_raw(stores, person)
    yield from _in_rows(stores, person)
    with stores.quarantine() as quarantine:
        entries = quarantine.entries(status=None)
        count = sum(is_quarantined(person, entry.payload) for entry in entries)
        if count:
            yield Trace("quarantined events", "quarantine.db", count)
    yield from _online(stores, person)
    yield from _in_bytes(stores, person)


def _in_raw(stores: Stores, person: Person) -> Iterator[Trace]:
    with stores.raw() as (store, eraser):
        for _, record in store.records():
            if eraser.concerns(record, person):
                yield Trace("raw records", record.ref or "", 1)


def _in_rows(stores: Stores, person: Person) -> Iterator[Trace]:
    home = stores.settings.home.absolute()
    for path in sorted(home.rglob("*.parquet")):
        if path.name.count(".checkpoint"):
            continue
        count = erase_files.rows_of(path, person)
        if count:
            yield Trace(_kind_of(path), str(path.relative_to(home)), count)
    for path in sorted(stores.settings.quarantine_path.glob("*.jsonl")):
        count = erase_files.lines_of(path, person)
        if count:
            yield Trace("quarantined rows", path.name, count)


def _kind_of(path: Path) -> str:
    if path.parent.name.startswith(f"{PARTITION}="):
        return "log rows"
    views = [view for view in contract.VIEWS if view in path.parts]
    return f"{views[0]} rows" if views else "rows of a Parquet file"


def _online(stores: Stores, person: Person) -> Iterator[Trace]:
    if stores.online is None:
        return
    project, client = stores.settings.project, stores.online.client
    with online.answers():
        if client.exists(*all_columns(project).keys(sorted(person.ids))):
            yield Trace("online entries", "the customer's hash", 1)
        if any(client.zscore(owed_key(project), one) is not None for one in person.ids):
            yield Trace("online entries", "owed", 1)
        if score_streams.knows(client, project, sorted(person.ids)):
            yield Trace("online entries", "what routing remembers", 1)
    link = stores.link()
    if link is not None:
        events = erase_online.events_in(link)
        count = sum(event.customer_id in person.ids for event in events)
        if count:
            yield Trace("queued messages", "events", count)
        if erase_online.has_scores(stores.score_links(), person):
            yield Trace("queued scores", "messages", 1)
    letters = stores.online.queue.dead(_MOST_LETTERS)
    count = sum(erase_online.without(letter.body, person) is not None for letter in letters)
    if count:
        yield Trace("dead letters", "letters", count)


def _in_bytes(stores: Stores, person: Person) -> Iterator[Trace]:
    home = stores.settings.home.absolute()
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        count = _count_in(path, person)
        if count:
            yield Trace("bytes of a file", str(path.relative_to(home)), count)
        if path.suffix == ".parquet" and ".checkpoint" in path.name:
            table = pq.read_table(path)
            if person.is_in_text(repr(table.to_pylist())):
                yield Trace("Delta's own log", str(path.relative_to(home)), 1)


def _count_in(path: Path, person: Person) -> int:
    count, tail = 0, b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            count += person.is_in_bytes(tail + chunk)
            tail = chunk[-_OVERLAP:]
    return count
