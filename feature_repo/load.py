"""Fill the online store: of each customer and view, the newest row known at a time.

A load ends with a note in Redis itself that says how far the store is complete. The note is what
the next load starts from, so a Redis that lost its data gets everything again, and a load that
broke off leaves the note of the last complete one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import duckdb
import pyarrow as pa
import redis
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from filelock import FileLock

from feature_repo import contract, online, point_in_time
from feature_repo.errors import NotReady
from feature_repo.history import duck, feature_table
from feature_repo.online_codec import Layout, all_columns
from feature_repo.settings import Settings
from feature_repo.sweep import sweep

Progress = Callable[[str, int], None]

_BATCH_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a load did."""

    #: Customers with at least one row written.
    customers: int
    rows: int
    #: How far the online store is complete now: `as_of`, or the last build if that is earlier.
    through: datetime
    seconds: float
    #: Whether everything was written, not only what is new since the last load.
    full: bool
    #: Customers whose rows were removed because the tables no longer have them.
    removed: int


@dataclass(frozen=True, slots=True)
class Source:
    """One version of a view's feature table."""

    view: str
    identity: str
    version: int
    files: tuple[str, ...]
    #: How far its build had come; None: nobody wrote it down.
    through: datetime | None


def load(
    settings: Settings,
    client: redis.Redis,
    *,
    as_of: datetime,
    full: bool = False,
    progress: Progress = lambda view, rows: None,
) -> Loaded:
    """Write the newest row with `event_timestamp <= as_of` of every customer and view.

    Only rows that are new since the last load are read, unless `full` is asked for, this Redis
    has no note of a load, `as_of` lies before the last one, or a table was changed in its past.

    Raises:
        NotReady: a feature table was never built.
        StoreUnavailable: Redis does not answer. Rows may have been written; the note is unchanged.
    """
    started = time.perf_counter()
    sources = [_source(settings, view) for view in contract.VIEWS]
    settings.state_path.mkdir(parents=True, exist_ok=True)
    with (
        FileLock(settings.state_path / "load.lock"),
        duck.connect(settings) as con,
        online.answers(),
    ):
        note = None if full else online.read_loaded(client, settings.project)
        since = {s.view: _since(con, s, note, as_of) for s in sources}
        whole = any(start is None for start in since.values())
        layout = all_columns(settings.project)
        had_keys = bool(client.dbsize())
        rows = 0
        for source in sources:
            start = None if whole else since[source.view]
            rows += _write(con, client, layout, source, (start, as_of), progress)
        removed = sweep(con, client, layout) if whole and had_keys else 0
        through = min([as_of, *(s.through for s in sources if s.through is not None)])
        customers = _customers(con)
        client.set(
            online.loaded_key(settings.project), _note(sources, through, as_of, rows, customers)
        )
    return Loaded(
        customers=customers,
        rows=rows,
        through=through,
        seconds=time.perf_counter() - started,
        full=whole,
        removed=removed,
    )


def _source(settings: Settings, view: str) -> Source:
    path = settings.feature_path(view)
    if not DeltaTable.is_deltatable(str(path)):
        message = f"No feature table {view} at {path}. Build it with `foresend features build`."
        raise NotReady(message)
    table = DeltaTable(str(path))
    state = feature_table.FeatureTable(view, path).state()
    through = None if state is None else datetime.fromisoformat(state.absorbed.through)
    identity = str(table.metadata().id)
    return Source(view, identity, int(table.version()), tuple(table.file_uris()), through)


def _since(
    con: duckdb.DuckDBPyConnection, source: Source, note: Mapping[str, Any] | None, as_of: datetime
) -> datetime | None:
    """The time after which rows may be missing in Redis; None: any may be.

    Appended rows may be older than the last load, when their build came after it.
    """
    if note is None or datetime.fromisoformat(note["as_of"]) > as_of:
        return None
    held = note["tables"].get(source.view)
    if held is None or held["id"] != source.identity:
        return None
    path = source.files[0].rsplit("/bucket=", 1)[0] if source.files else None
    before = None if path is None else _files_at(path, held["version"])
    if before is None or not before <= set(source.files):
        return None
    start = datetime.fromisoformat(note["through"])
    added = sorted(set(source.files) - before)
    if added:
        column = point_in_time.quoted(contract.EVENT_TIMESTAMP)
        query = f"SELECT min({column}) FROM {point_in_time.parquet(added)}"
        (oldest,) = con.execute(query).fetchone() or (None,)
        if oldest is not None:
            start = min(start, oldest - timedelta(microseconds=1))
    return start
