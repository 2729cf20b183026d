"""The narrow bitemporal join: find the winning row first, fetch its wide columns last.

For an entity row at time T wins, of the rows of its key with `event_timestamp <= T`, known by then
(`created_timestamp <= T`) and not expired, the one with the greatest event_timestamp; of several,
the one created last. Only keys, times and a row's place in its file pass through the join.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from feature_repo.errors import ConfigError, UnusableInput

ROW: Final = "__row"
MOMENT: Final = "__moment"

# The file's number and the row's number in it, both virtual columns of read_parquet.
_PLACE: Final = "((file_index::BIGINT << 40) | file_row_number)"
# Both times as one number, compared as one: microseconds fit in 62 bits until the year 148000.
_NEWEST: Final = "arg_max(place, epoch_us(event_at)::HUGEINT * (1::HUGEINT << 62) + epoch_us({}))"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureTable:
    """Rows of features in Parquet files, with the two times that a join needs."""

    name: str
    #: Parquet files; none at all is a table without rows.
    files: tuple[str, ...]
    #: Column that holds a key -> column of the entity rows it must equal.
    keys: Mapping[str, str]
    event_timestamp: str
    created_timestamp: str | None
    #: Column -> its name in the result.
    columns: Mapping[str, str]
    #: How long a row is valid after its event_timestamp; None: until the next.
    ttl: timedelta | None = None

    @property
    def relation(self) -> str:
        """SQL that reads the files."""
        return parquet(self.files)


def join(
    con: duckdb.DuckDBPyConnection, entities: pa.Table, table: FeatureTable
) -> list[pa.ChunkedArray]:
    """The columns of `table`, in the order of `table.columns`, aligned with the entity rows.

    `entities` has the key columns and MOMENT (timestamp in UTC). Every entity row gets exactly one
    value per column, null where no row wins; row order and repeated rows stay as they are.

    Raises:
        ConfigError: the table has no created_timestamp, so nothing says what was known when.
        UnusableInput: a created_timestamp is null.
    """
    if not table.files or not table.columns:
        return [pa.chunked_array([pa.nulls(entities.num_rows)]) for _ in table.columns]
    created = _created(con, table)
    con.register("entity_arrow", _numbered(entities, table))
    con.execute("CREATE OR REPLACE TEMP TABLE entity AS SELECT * FROM entity_arrow")
    con.unregister("entity_arrow")
    con.execute(_winners_sql(table, created))
    con.execute(_wide_sql(table))
    chosen = ", ".join(f"wide.{quoted(column)}" for column in table.columns)
    result = con.sql(
        f"SELECT {chosen} FROM entity LEFT JOIN winner USING ({ROW}) LEFT JOIN wide USING (place) "
        f"ORDER BY {ROW}"
    ).to_arrow_table()
    if result.num_rows != entities.num_rows:
        message = (
            f"{table.name}: the join made {result.num_rows} rows of {entities.num_rows}; "
            "its files hold a row twice. Rebuild it with `foresend features build --full`."
        )
        raise UnusableInput(message)
    return list(result.columns)


def latest(
    con: duckdb.DuckDBPyConnection,
    table: FeatureTable,
    *,
    until: datetime,
    since: datetime | None = None,
) -> duckdb.DuckDBPyRelation:
    """The newest row of each key with `since < event_timestamp <= until`, lazily, in file order.

    Columns: the keys, `table.columns` under their result names, then the times. The temporary
    table `winner` holds the keys of all of them.
    """
    keys = ", ".join(map(quoted, table.keys))
    created = table.created_timestamp or table.event_timestamp
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE winner AS "
        f"SELECT {keys}, {_NEWEST.format('created_at')} AS place "
        f"FROM (SELECT {keys}, {utc(table.event_timestamp)} AS event_at, "
        f"{utc(created)} AS created_at, {_PLACE} AS place FROM {table.relation}) "
        f"WHERE event_at <= $until AND ($since IS NULL OR event_at > $since) GROUP BY {keys}",
        {"until": until, "since": since},
    )
    names = [
        *map(quoted, table.keys),
        *(f"{quoted(column)} AS {quoted(name)}" for column, name in table.columns.items()),
        *(
            f"{utc(column)} AS {quoted(column)}"
            for column in dict.fromkeys((table.event_timestamp, created))
        ),
    ]
    return con.sql(
        f"SELECT {', '.join(names)} FROM {table.relation} "
        f"WHERE {_PLACE} IN (SELECT place FROM winner)"
    )


def parquet(files: Sequence[str]) -> str:
    """SQL that reads Parquet files as one table."""
    names = ", ".join(map(literal, files))
    return f"read_parquet([{names}], union_by_name=true, hive_partitioning=false)"


def quoted(name: str) -> str:
    """A column name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def utc(column: str) -> str:
    """A time column as SQL, naive times read as UTC (the connection's time zone)."""
    return f"CAST({quoted(column)} AS TIMESTAMPTZ)"


def _created(con: duckdb.DuckDBPyConnection, table: FeatureTable) -> str:
    created = table.created_timestamp
    if created is None:
        message = (
            f"{table.name} has no created_timestamp_column, so nothing says which of its rows were "
            "known at a time. Declare one on its source."
        )
        raise ConfigError(message)
    query = f"SELECT count(*) FROM {table.relation} WHERE {quoted(created)} IS NULL"
    ((missing,),) = con.execute(query).fetchall()
    if missing:
        message = (
            f"{table.name}: {created} is null in {missing} rows. Such rows would silently count "
            "as never known; write the time from which each row was known."
        )
        raise UnusableInput(message)
    return created


def _numbered(entities: pa.Table, table: FeatureTable) -> pa.Table:
    numbers = pa.array(np.arange(entities.num_rows))
    return entities.select([*dict.fromkeys(table.keys.values()), MOMENT]).append_column(
        ROW, numbers
    )


def _winners_sql(table: FeatureTable, created: str) -> str:
    """Place of the winning row of each entity row that has one."""
    keys = ", ".join(map(quoted, table.keys))
    meets = " AND ".join(
        f"narrow.{quoted(feature)} = entity.{quoted(entity)}"
        for feature, entity in table.keys.items()
    )
    alive = ""
    if table.ttl:
        micros = table.ttl // timedelta(microseconds=1)
        alive = f"AND event_at + to_microseconds({micros}) >= {MOMENT}"
    return (
        f"CREATE OR REPLACE TEMP TABLE winner AS "
        f"SELECT {ROW}, {_NEWEST.format('created_at')} AS place FROM entity JOIN "
        f"(SELECT {keys}, {utc(table.event_timestamp)} AS event_at, {utc(created)} AS created_at, "
        f"{_PLACE} AS place FROM {table.relation}) AS narrow ON {meets} "
        f"WHERE event_at <= {MOMENT} AND created_at <= {MOMENT} {alive} GROUP BY {ROW}"
    )


def _wide_sql(table: FeatureTable) -> str:
    """The features of the winners, each once."""
    columns = ", ".join(map(quoted, table.columns))
    return (
        f"CREATE OR REPLACE TEMP TABLE wide AS SELECT {_PLACE} AS place, {columns} "
        f"FROM {table.relation} WHERE {_PLACE} IN (SELECT place FROM winner)"
    )
