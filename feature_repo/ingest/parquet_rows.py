"""Rows of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.errors import UnusableInput
from feature_repo.ingest.files import InputFile, Progress
from feature_repo.ingest.source import Kind, Source, SourceColumn, cells_schema, refuse_repeats

_BATCH_ROWS: Final = 65_536


def open_parquet(file: InputFile, progress: Progress) -> Source:
    """Read the schema; the rows follow when they are asked for."""
    with pq.ParquetFile(file.path) as parquet:
        schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
    if rows == 0:
        message = f"{file.path} has no rows."
        raise UnusableInput(message)
    refuse_repeats(file, schema.names)
    columns = tuple(SourceColumn(cell.name, _kind(cell.type)) for cell in schema)
    target = cells_schema([cell.type for cell in schema])
    return Source(file, columns, target, _batches(file, target, rows, progress))


def _batches(
    file: InputFile, schema: pa.Schema, rows: int, progress: Progress
) -> Iterator[pa.RecordBatch]:
    done = 0
    with pq.ParquetFile(file.path) as parquet:
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
            numbers = pa.array(np.arange(done + 1, done + batch.num_rows + 1))
            yield pa.RecordBatch.from_arrays([numbers, *batch.columns], schema=schema)
            done += batch.num_rows
            progress(f"reading {file.path.name}", done, rows)


def _kind(type_: pa.DataType) -> Kind:
    if pa.types.is_dictionary(type_):
        return _kind(type_.value_type)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return Kind.TEXT
    if pa.types.is_integer(type_):
        return Kind.WHOLE
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return Kind.NUMBER
    if pa.types.is_boolean(type_):
        return Kind.FLAG
    if pa.types.is_timestamp(type_):
        return Kind.LOCAL_TIME if type_.tz is None else Kind.TIME
    if pa.types.is_null(type_):
        return Kind.TEXT
    return Kind.OTHER
