"""A programme as files: canonical events, their truth, and readings of the placement."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.history.schema import EVENTS
from infra.simulator.options import Options, checked
from infra.simulator.readings import Readings
from infra.simulator.rows import TRUTH
from infra.simulator.sweeping import corrections
from infra.simulator.world import World

Progress = Callable[[str, float], None]
"""Called with a step and the share of it that is done, 0.0 to 1.0."""

CHUNK_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    #: Event files, to be imported.
    events: tuple[Path, ...]
    truth: Path
    rows: int
    first_received: datetime | None
    last_received: datetime | None


def quiet(step: str, share: float) -> None:
    """A progress nobody watches."""
    del step, share


def write_history(
    options: Options, folder: Path, progress: Progress = quiet, *, file_format: str = "parquet"
) -> Written:
    """Write the programme to a folder as canonical events (docs/events.md) and its truth.

    `file_format`: parquet or jsonl. The same options write the same bytes.

    Raises:
        ConfigError: an option cannot be used.
    """
    world = World(checked(options))
    folder.mkdir(parents=True, exist_ok=True)
    readings = Readings(world)
    events_path, truth_path = folder / f"events.{file_format}", folder / "truth.parquet"
    rows, first, last = 0, None, None
    with _writer(events_path) as events, pq.ParquetWriter(truth_path, TRUTH) as truth:
        for chunk, truths in _chunks(world, readings, progress):
            events.write(chunk)
            truth.write_table(truths)
            if chunk.num_rows:
                bounds = pc.min_max(chunk["received_time"]).as_py()
                first = min(first or bounds["min"], bounds["min"])
                last = max(last or bounds["max"], bounds["max"])
            rows += chunk.num_rows
    readings.write(folder)
    (folder / "simulation.json").write_text(json.dumps(described(options), indent=1) + "\n")
    return Written((events_path,), truth_path, rows, first, last)


def described(options: Options) -> dict[str, Any]:
    """The options as JSON can hold them."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(options), default=_plain))
    return plain


def _plain(value: object) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)


def _chunks(
    world: World, readings: Readings, progress: Progress
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Events of some days in the order they arrive, with the sweep's corrections, and truth."""
    options = world.options
    events, truths = [], []
    with duckdb.connect(":memory:") as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET threads = 1")
        for number, day in enumerate(world.days()):
            progress("simulate", (number + 1) / options.days)
            if day is not None:
                readings.add(day)
                events.append(day.events)
                truths.append(day.truth)
            if len(events) == CHUNK_DAYS or (events and number + 1 == options.days):
                yield _chunk(con, options, events), pa.concat_tables(truths)
                events, truths = [], []
        if events:
            yield _chunk(con, options, events), pa.concat_tables(truths)


def _chunk(con: duckdb.DuckDBPyConnection, options: Options, days: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(days)
    if options.swept and options.machines:
        table = pa.concat_tables([table, corrections(con, options, table)])
    order = pc.sort_indices(
        table, sort_keys=[("received_time", "ascending"), ("event_id", "ascending")]
    )
    return table.take(order).combine_chunks()


class _JsonLines:
    """Canonical events, one object per line, fields without a value left out."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def __enter__(self) -> _JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, table: pa.Table) -> None:
        """Append the rows."""
        for batch in table.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                said = {name: value for name, value in row.items() if value is not None}
                self._file.write(orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE))


class _Parquet:
    """Canonical events as Parquet."""

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, EVENTS, compression="zstd")

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Append the rows."""
        self._writer.write_table(table)


def _writer(path: Path) -> _Parquet | _JsonLines:
    return _Parquet(path) if path.suffix == ".parquet" else _JsonLines(path)
