"""Stored features of many decisions, block by block: the memory of one block, whatever the whole.

A block is the decisions of some partitions' customers, so that each file of a feature table is
read for one block alone. What a row gets is what `get_historical_features` gives it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from feast import FeatureStore

from feature_repo import contract, point_in_time
from feature_repo.history import duck
from feature_repo.history.feature_table import PARTITION
from feature_repo.history.versions import BUCKETS, bucket_of
from feature_repo.point_in_time import FeatureTable
from feature_repo.stores.offline import feature_table

BLOCK_ROWS: Final = 250_000
"""Decisions per block, as far as there are partitions to part them by."""

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """Some decisions with what was known of their customers."""

    #: Places among all decisions, ascending.
    rows: Positions
    #: Stored feature -> its values, in the order of `rows`.
    columns: Mapping[str, pa.ChunkedArray]


def read_blocks(
    store: FeatureStore,
    views: Mapping[str, Sequence[str]],
    customer: npt.NDArray[np.object_],
    at_us: npt.NDArray[np.int64],
    *,
    block_rows: int = BLOCK_ROWS,
) -> Iterator[Block]:
    """The columns of `views` (view -> columns) of each customer as known at its time.

    `at_us` is in microseconds since the Unix epoch. Every place comes in exactly one block.

    Raises:
        NotReady: a feature table does not exist.
    """
    tables = [
        feature_table(
            store.config, store.get_feature_view(view), [f"{view}:{name}" for name in columns]
        )
        for view, columns in views.items()
    ]
    names = pa.array(customer, type=pa.string())
    moments = pa.array(at_us).cast(pa.timestamp("us", tz="UTC"))
    entities = pa.table({contract.ENTITY: names, point_in_time.MOMENT: moments})
    with duck.connect(store.config.offline_store.settings) as con:
        # Winners lie in every row group: reading ahead what filters may skip only costs.
        con.execute("SET disable_parquet_prefetching = true")
        for rows, buckets in _parted(con, names, block_rows):
            part = entities.take(pa.array(rows)) if len(rows) < len(at_us) else entities
            columns: dict[str, pa.ChunkedArray] = {}
            for table in tables:
                found = point_in_time.join(con, part, _of_buckets(table, buckets))
                columns |= zip(table.columns.values(), found, strict=True)
            yield Block(rows, columns)


def _parted(
    con: duckdb.DuckDBPyConnection, customers: pa.Array, block_rows: int
) -> Iterator[tuple[Positions, frozenset[str]]]:
    """Places and partitions of each block. Small data are one block."""
    count = min(len(BUCKETS), -(-len(customers) // block_rows))
    if count <= 1:
        yield np.arange(len(customers)), frozenset(BUCKETS)
        return
    coded = customers.dictionary_encode()
    con.register("block_customers", pa.table({contract.ENTITY: coded.dictionary}))
    known = duck.backend(con).table("block_customers")
    # Lazily, in one stream: the order is that of the table.
    stream = duck.stream(con, known.select(bucket=bucket_of(known[contract.ENTITY])))
    found = pa.Table.from_batches(stream, pa.schema([("bucket", pa.string())]))
    con.unregister("block_customers")
    buckets = np.searchsorted(BUCKETS, found.column("bucket").to_numpy(zero_copy_only=False))
    block_of_bucket = np.arange(len(BUCKETS)) * count // len(BUCKETS)
    block = block_of_bucket[buckets][coded.indices.to_numpy()]
    for number in range(count):
        rows = np.flatnonzero(block == number)
        if len(rows):
            mine = np.flatnonzero(block_of_bucket == number)
            yield rows, frozenset(BUCKETS[at] for at in mine)


def _of_buckets(table: FeatureTable, buckets: frozenset[str]) -> FeatureTable:
    """The table without the files of other partitions."""
    folders = {f"{PARTITION}={bucket}" for bucket in BUCKETS if bucket not in buckets}
    files = tuple(file for file in table.files if Path(file).parent.name not in folders)
    return replace(table, files=files)
