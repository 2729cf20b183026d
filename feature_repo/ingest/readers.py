"""Rows of a Parquet, CSV or JSONL file as numbered Arrow batches that never hold it whole.

Columns are renamed c0, c1 ... so that no name of a user's file is ever an SQL name.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from feature_repo.errors import UnusableInput
from feature_repo.ingest.files import Form, InputFile, Progress
from feature_repo.ingest.jsonl import line_batches, sampled_keys

ROW: Final = "row_no"
LINE: Final = "line"
BROKEN_LIMIT: Final = 100_000
"""More rows than this with a wrong number of cells, and the file is not what it says it is."""

_BLOCK: Final = 1 << 22
_BATCH_ROWS: Final = 65_536
_DELIMITERS: Final = (",", ";", "\t", "|")
_END: Final = "\x02end of file\x02"


class Kind(StrEnum):
    """What a column holds, as far as its file says."""

    TEXT = "text"
    WHOLE = "whole"
    NUMBER = "number"
    FLAG = "flag"
    TIME = "time"  #: an instant
    LOCAL_TIME = "local_time"  #: a date and time without zone
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One column of a file."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A CSV record with too few or too many cells."""

    row: int
    text: str
    found: int
    expected: int


@dataclass(slots=True)
class Source:
    """An open file: `batches` can be read once."""

    file: InputFile
    columns: tuple[SourceColumn, ...]
    batches: Iterator[pa.RecordBatch]
    schema: pa.Schema
    #: Filled while `batches` is read.
    broken: list[BrokenRow] = field(default_factory=list)
    rows: int = 0
    #: What stopped the reading, kept because DuckDB would turn it into text.
    error: UnusableInput | None = None

    def reader(self) -> pa.RecordBatchReader:
        """The batches as Arrow's stream, counted."""
        return pa.RecordBatchReader.from_batches(self.schema, self._counted())

    def _counted(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self.batches:
                self.rows += batch.num_rows
                yield batch
        except UnusableInput as exc:
            self.error = exc
            raise
        except (pa.ArrowException, OSError) as exc:
            message = f"{self.file.path} is damaged or not {self.file.form}: {exc}."
            self.error = UnusableInput(message)
            raise self.error from exc


def open_source(file: InputFile, progress: Progress) -> Source:
    """Open a file for reading.

    Raises:
        UnusableInput: it is damaged, has no rows, or names a column twice.
    """
    try:
        if file.form is Form.PARQUET:
            return _open_parquet(file, progress)
        if file.form is Form.CSV:
            return _open_csv(file, progress)
        return _open_jsonl(file, progress)
    except (pa.ArrowException, OSError, csv.Error) as exc:
        message = f"{file.path} is damaged or not {file.form}: {exc}."
        raise UnusableInput(message) from exc


def _schema(types: list[pa.DataType]) -> pa.Schema:
    cells = [pa.field(f"c{number}", type_) for number, type_ in enumerate(types)]
    return pa.schema([pa.field(ROW, pa.int64()), *cells])


def _refuse_repeats(file: InputFile, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        message = f"{file.path} has the column {repeated[0]!r} more than once. Rename one of them."
        raise UnusableInput(message)


def _open_parquet(file: InputFile, progress: Progress) -> Source:
    parquet = pq.ParquetFile(file.path)
    if parquet.metadata.num_rows == 0:
        message = f"{file.path} has no rows."
        raise UnusableInput(message)
    schema = parquet.schema_arrow
    _refuse_repeats(file, schema.names)
    columns = tuple(SourceColumn(f.name, _kind(f.type)) for f in schema)
    target = _schema([f.type for f in schema])

    def batches() -> Iterator[pa.RecordBatch]:
        done, total = 0, parquet.metadata.num_rows
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
            numbers = pa.array(np.arange(done + 1, done + batch.num_rows + 1))
            yield pa.RecordBatch.from_arrays([numbers, *batch.columns], schema=target)
            done += batch.num_rows
            progress(f"reading {file.path.name}", done, total)

    return Source(file, columns, batches(), target)


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


def _open_jsonl(file: InputFile, progress: Progress) -> Source:
    with file.open() as stream:
        keys = sampled_keys(stream)
    if not keys:
        message = f"{file.path}: none of its first lines is a JSON object."
        raise UnusableInput(message)
    schema = pa.schema([pa.field(ROW, pa.int64()), pa.field(LINE, pa.string())])
    columns = tuple(SourceColumn(key, Kind.TEXT) for key in keys)
    return Source(file, columns, line_batches(file, schema, progress), schema)


class _CsvStream:
    """A CSV's bytes after the header, then one last record of our own.

    Arrow drops everything after a quote that is never closed without a word; when our record does
    not come out at the end, that has happened.
    """

    def __init__(self, stream: io.BufferedIOBase, tail: bytes) -> None:
        self._stream = stream
        self._tail = tail
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """The next bytes, as files do it."""
        chunk = self._stream.read(size)
        if not chunk:
            chunk, self._tail = self._tail, b""
        return chunk

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        self.closed = True


def _open_csv(file: InputFile, progress: Progress) -> Source:
    stream = file.open()
    names, delimiter = _header(file, stream)
    _refuse_repeats(file, names)
    schema = _schema([pa.string()] * len(names))
    tail = b"\n" + delimiter.join([_END] * len(names)).encode() + b"\n"
    columns = tuple(SourceColumn(name, Kind.TEXT) for name in names)
    source = Source(file, columns, iter(()), schema)
    source.batches = _csv_batches(source, _CsvStream(stream, tail), delimiter, progress)
    return source


def _header(file: InputFile, stream: io.BufferedIOBase) -> tuple[list[str], str]:
    line = ""
    while not line.strip():
        raw = stream.readline(_BLOCK)
        if not raw:
            message = f"{file.path} has no header line."
            raise UnusableInput(message)
        line = raw.decode("utf-8-sig")
    cells = {d: next(csv.reader([line.strip("\r\n")], delimiter=d)) for d in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda d: len(cells[d]))
    names = [name.strip() for name in cells[delimiter]]
    if "" in names:
        message = f"{file.path}: column {names.index('') + 1} of the header has no name."
        raise UnusableInput(message)
    return names, delimiter


def _csv_batches(
    source: Source, stream: _CsvStream, delimiter: str, progress: Progress
) -> Iterator[pa.RecordBatch]:
    broken: dict[int, BrokenRow] = {}

    def keep_broken(row: pa_csv.InvalidRow) -> str:
        text = row.text[:10_000]
        broken[row.number] = BrokenRow(row.number, text, row.actual_columns, row.expected_columns)
        return "skip" if len(broken) <= BROKEN_LIMIT else "error"

    names = source.schema.names[1:]
    reader = pa_csv.open_csv(
        pa.PythonFile(stream, mode="r"),
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=names),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=keep_broken
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    last, complete = 0, False
    for batch in reader:
        complete = bool(batch.num_rows) and batch.column(0)[-1].as_py() == _END
        good = batch.slice(0, batch.num_rows - complete)
        numbers = _numbers(last, good.num_rows, broken)
        last = int(numbers[-1]) if len(numbers) else last
        arrays = [pa.array(numbers), *good.columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=source.schema)
        progress(f"reading {source.file.path.name}", last, None)
    source.broken.extend(broken.values())
    if not complete:
        message = f"{source.file.path}: a quote that opens after row {last} is never closed."
        raise UnusableInput(message)


def _numbers(last: int, count: int, broken: dict[int, BrokenRow]) -> np.ndarray:
    """The next `count` record numbers after `last` that are not broken."""
    candidates = np.arange(last + 1, last + 1 + count + len(broken))
    if broken:
        candidates = candidates[~np.isin(candidates, list(broken))]
    return candidates[:count]
