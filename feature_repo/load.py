"""Fill the online store: of each customer and view, the newest row known at a time.

Customers with a state of the stream keep their `activity` and `customer_profile`: the stream knows
more than any table. Only their daily windows, which the stream does not keep, are written.

A load ends with a note in Redis itself that says how far the store is complete. The note is what
the next load starts from, so a Redis that lost its data gets everything again, and a load that
broke off leaves the note of the last complete one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import duckdb
import pyarrow as pa
import redis
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from feature_repo import contract, online, point_in_time
from feature_repo.errors import NotReady
from feature_repo.history import duck, feature_table
from feature_repo.online_codec import all_columns
from feature_repo.settings import Settings
from feature_repo.sole import only_one
from feature_repo.stream.online_load import Streamed, is_empty
from feature_repo.sweep import sweep, written

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One version of a view's feature table."""

    view: str
    path: str
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
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
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
    with only_one(settings, "load", wait_s=-1), duck.connect(settings) as con, online.answers():
        note = None if full else online.read_loaded(client, settings.project)
        since = {s.view: _since(con, s, note, as_of) for s in sources}
        whole = any(start is None for start in since.values())
        layout = all_columns(settings.project)
        was_empty = is_empty(client, layout)
        streamed = Streamed(settings, client, layout, clock)
        streamed.begin()
        starts = dict.fromkeys(since) if whole else since
        news = streamed.without(_news(con, sources, starts, as_of, progress))
        rows = online.OnlineWriter(client, layout, sparse=was_empty).write_all(news)
        removed = sweep(con, client, layout) if whole and not was_empty else 0
        through = min([as_of, *(s.through for s in sources if s.through is not None)])
        streamed.note(con)
        note_key = online.loaded_key(settings.project)
        client.set(note_key, _note(sources, through, as_of))
        streamed.end(con)
        customers = _customers(con)
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
    return Source(
        view=view,
        path=str(path),
        identity=str(table.metadata().id),
        version=int(table.version()),
        files=tuple(table.file_uris()),
        through=None if state is None else datetime.fromisoformat(state.absorbed.through),
    )


def _since(
    con: duckdb.DuckDBPyConnection, source: Source, note: Mapping[str, Any] | None, as_of: datetime
) -> datetime | None:
    """The time after which rows may be missing in Redis; None: any may be.

    Appended rows may be older than the last load, when the build of them came after it.
    """
    if note is None or datetime.fromisoformat(note["as_of"]) > as_of:
        return None
    held = note["tables"].get(source.view, {})
    before = _files_at(source, held["version"]) if held.get("id") == source.identity else None
    if before is None or not before <= {*source.files}:
        return None
    start = datetime.fromisoformat(note["through"])
    added = sorted({*source.files} - before)
    if not added:
        return start
    time_column = point_in_time.quoted(contract.EVENT_TIMESTAMP)
    query = f"SELECT min({time_column}) FROM {point_in_time.parquet(added)}"
    (oldest,) = con.execute(query).fetchone() or (None,)
    return start if oldest is None else min(start, oldest - timedelta(microseconds=1))


def _files_at(source: Source, version: int) -> set[str] | None:
    """The files of an earlier version, None when the table no longer knows it."""
    if version > source.version:
        return None
    try:
        return {*DeltaTable(source.path, version=version).file_uris()}
    except DeltaError:
        return None


def _news(
    con: duckdb.DuckDBPyConnection,
    sources: Sequence[Source],
    starts: Mapping[str, datetime | None],
    as_of: datetime,
    progress: Progress,
) -> Iterator[tuple[str, pa.Table]]:
    """The newest rows of each view since its start, in batches; keeps whose they are.

    The customers of a view are in the temporary table `written(view)` once its rows are taken.
    """
    for source in sources:
        con.execute(f"CREATE TEMP TABLE {written(source.view)} (customer_id VARCHAR)")
        if not source.files:
            continue
        table = point_in_time.FeatureTable(
            name=source.view,
            files=source.files,
            keys={contract.ENTITY: contract.ENTITY},
            event_timestamp=contract.EVENT_TIMESTAMP,
            created_timestamp=contract.CREATED_TIMESTAMP,
            columns={name: name for name in contract.VIEWS[source.view]},
        )
        newest = point_in_time.latest(con, table, since=starts[source.view], until=as_of)
        rows = 0
        for batch in newest.to_arrow_reader(_BATCH_ROWS):
            yield source.view, pa.Table.from_batches([batch])
            rows += batch.num_rows
            progress(source.view, rows)
        con.execute(f"INSERT INTO {written(source.view)} SELECT {contract.ENTITY} FROM winner")


def _customers(con: duckdb.DuckDBPyConnection) -> int:
    tables = " UNION ".join(f"SELECT customer_id FROM {written(view)}" for view in contract.VIEWS)
    (count,) = con.execute(f"SELECT count(*) FROM ({tables})").fetchone() or (0,)
    return int(count)


def _note(sources: Sequence[Source], through: datetime, as_of: datetime) -> str:
    """What the next load, and whoever asks how complete the store is, must know."""
    return json.dumps(
        {
            "through": through.isoformat(),
            "as_of": as_of.isoformat(),
            "tables": {s.view: {"id": s.identity, "version": s.version} for s in sources},
        }
    )
