"""A feature table: change rows of one view, on Delta, partitioned by a hash of the customer.

Each commit carries what the table has absorbed, so that table and bookkeeping cannot disagree,
whatever moment a build is killed at.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.transaction import AddAction, create_table_with_add_actions
from ibis.expr.types import Table

from feature_repo import contract

PARTITION: Final = "bucket"
KEYS: Final = (contract.ENTITY, contract.EVENT_TIMESTAMP, contract.CREATED_TIMESTAMP)
_METADATA: Final = "foresend"
_ROWS_PER_FILE: Final = 1_000_000
_ROWS_PER_GROUP: Final = 65_536
_MODULUS: Final = 2**64
_CROWD: Final = 32
_KEEP_HOURS: Final = 30 * 24


def feature_schema(view: str) -> pa.Schema:
    """Arrow schema of a view's rows: keys and times, then the features; no partition column.

    >>> feature_schema("customer_profile").names[:4]
    ['customer_id', 'event_timestamp', 'created_timestamp', 'country']
    """
    entity, *times = KEYS
    return pa.schema(
        [
            pa.field(entity, pa.string(), nullable=False),
            *(pa.field(name, pa.timestamp("us", tz="UTC"), nullable=False) for name in times),
            *(
                pa.field(name, pa.string() if name in contract.TEXT_FEATURES else pa.float64())
                for name in contract.VIEWS[view]
            ),
        ]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Absorbed:
    """How far a table has come."""

    #: Greatest log_pos whose row is in the features.
    position: int
    #: ISO time up to which there are rows that only the passing of time brings about.
    through: str
    #: Hash of what the features are declared to be.
    declaration: str
    #: Of `customer_placement` only: digest of the impairments in force up to `through`.
    impairments: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """Number and digest of rows; the digest knows neither their order nor their files."""

    rows: int = 0
    digest: int = 0

    def __add__(self, other: Content) -> Content:
        return Content(self.rows + other.rows, (self.digest + other.digest) % _MODULUS)

    def __sub__(self, other: Content) -> Content:
        return Content(self.rows - other.rows, (self.digest - other.digest) % _MODULUS)


@dataclass(frozen=True, slots=True)
class TableState:
    """What the last build left in a table."""

    absorbed: Absorbed
    content: Content


class FeatureTable:
    """The table of one view in one folder. One writer at a time: the build's lock sees to it."""

    def __init__(self, view: str, path: Path) -> None:
        self.view = view
        self.path = path
        self.schema = feature_schema(view)

    def version(self) -> int | None:
        """The newest Delta version, None before the first build."""
        return int(self._delta().version()) if self._exists() else None

    def state(self) -> TableState | None:
        """What the last build left, None before the first one."""
        if not self._exists():
            return None
        for commit in self._delta().history():
            if _METADATA in commit:
                held = json.loads(commit[_METADATA])
                content = Content(held.pop("rows"), int(held.pop("digest"), 16))
                return TableState(Absorbed(**held), content)
        return None

    def rows(self, con: duckdb.DuckDBPyConnection, bucket: str | None = None) -> Table:
        """The stored rows, of one bucket or all, as an Ibis table with the view's columns."""
        name = f"stored_{self.view}_{bucket}"
        files = self.files() if bucket is None else self.files([bucket])
        if files:
            relation = con.from_parquet(files, hive_partitioning=False, union_by_name=True)
        else:
            relation = con.from_arrow(self.schema.empty_table())
        relation.create_view(name, replace=True)
        return ibis.duckdb.from_connection(con).table(name).select(*self.schema.names)

    def files(self, buckets: Sequence[str] | None = None) -> list[str]:
        """Paths of the newest version's files, of some buckets or of all."""
        if not self._exists():
            return []
        filters = None if buckets is None else [(PARTITION, "in", list(buckets))]
        return list(self._delta().file_uris(file_pruning_predicate=filters))

    def crowded(self) -> list[str]:
        """Buckets in so many files that it is time to write them anew."""
        counts = Counter(Path(file).parent.name for file in self.files())
        return sorted(name.split("=")[1] for name, count in counts.items() if count >= _CROWD)

    def content(self, con: duckdb.DuckDBPyConnection, files: Sequence[str]) -> Content:
        """Number and digest of the rows in some files of this table."""
        if not files:
            return Content()
        columns = ", ".join(f'"{name}"' for name in self.schema.names)
        relation = con.from_parquet(list(files), hive_partitioning=False)
        totals = relation.aggregate(f"count(*), coalesce(sum(hash({columns})), 0)").fetchall()
        rows, digest = totals[0]
        return Content(int(rows), int(digest) % _MODULUS)

    def write(self, bucket: str, batches: Iterable[pa.RecordBatch]) -> Iterator[AddAction]:
        """Write rows to files of a bucket; nothing is part of the table before `commit`."""
        writer: _File | None = None
        for batch in batches:
            if writer is None:
                writer = _File(self.path, bucket, self.schema)
            writer.add(batch)
            if writer.rows >= _ROWS_PER_FILE:
                yield writer.close()
                writer = None
        if writer is not None:
            yield writer.close()

    def commit(
        self, added: Sequence[AddAction], state: TableState, *, replaced: Sequence[str] | None = ()
    ) -> None:
        """Make written files part of the table and record the state, in one commit.

        The present content of the buckets in `replaced` goes; None: all of it goes.
        """
        held = {
            **asdict(state.absorbed),
            "rows": state.content.rows,
            "digest": f"{state.content.digest:016x}",
        }
        properties = CommitProperties(custom_metadata={_METADATA: json.dumps(held)})
        schema = Schema.from_arrow(self.schema.append(pa.field(PARTITION, pa.string())))
        if not self._exists():
            self.path.mkdir(parents=True, exist_ok=True)
            create_table_with_add_actions(
                str(self.path),
                schema,
                list(added),
                mode="error",
                partition_by=[PARTITION],
                commit_properties=properties,
            )
            return
        filters = None if replaced is None else [(PARTITION, "in", list(replaced))]
        self._delta().create_write_transaction(
            list(added),
            mode="append" if replaced == () else "overwrite",
            schema=schema,
            partition_by=[PARTITION],
            partition_filters=filters if replaced else None,
            commit_properties=properties,
        )

    def vacuum(self, *, keep_hours: int = _KEEP_HOURS) -> None:
        """Delete files that no version of the last month needs, those of killed builds too."""
        if self._exists():
            self._delta().vacuum(
                retention_hours=keep_hours,
                dry_run=False,
                enforce_retention_duration=False,
                full=True,
            )

    def _exists(self) -> bool:
        return bool(DeltaTable.is_deltatable(str(self.path)))

    def _delta(self) -> DeltaTable:
        return DeltaTable(str(self.path))


class _File:
    """One Parquet file being written into a bucket's folder."""

    def __init__(self, table: Path, bucket: str, schema: pa.Schema) -> None:
        self._name = f"{PARTITION}={bucket}/{uuid.uuid4().hex}.parquet"
        self._bucket = bucket
        self._path = table / self._name
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(
            self._path, schema, compression="zstd", compression_level=1, coerce_timestamps="us"
        )
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch, row_group_size=_ROWS_PER_GROUP)
        self.rows += batch.num_rows

    def close(self) -> AddAction:
        self._writer.close()
        stat = self._path.stat()
        return AddAction(
            path=self._name,
            size=stat.st_size,
            partition_values={PARTITION: self._bucket},
            modification_time=stat.st_mtime_ns // 1_000_000,
            data_change=True,
            stats=json.dumps({"numRecords": self.rows}),
        )
