"""Rows of a CSV file, every cell as text; records with a wrong number of cells are set aside."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from feature_repo.errors import UnusableInput
from feature_repo.ingest.files import InputFile, Progress
from feature_repo.ingest.source import (
    BrokenRow,
    Kind,
    Source,
    SourceColumn,
    cells_schema,
    refuse_repeats,
)

BLOCK_BYTES: Final = 1 << 22
BROKEN_LIMIT: Final = 100_000
"""More records than this with a wrong number of cells, and the file is not what it says it is."""

_DELIMITERS: Final = (",", ";", "\t", "|")
_END: Final = "\x02end of file\x02"


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


def open_csv(file: InputFile, progress: Progress, block_bytes: int = BLOCK_BYTES) -> Source:
    """Read the header, which also tells the delimiter; the rows follow when they are asked for."""
    names, delimiter, start = _header(file)
    refuse_repeats(file, names)
    columns = tuple(SourceColumn(name, Kind.TEXT) for name in names)
    source = Source(file, columns, cells_schema([pa.string()] * len(names)))
    source.batches = _batches(source, delimiter, start, block_bytes, progress)
    return source


def _header(file: InputFile) -> tuple[list[str], str, int]:
    """Names, delimiter, and the byte after the header."""
    line = ""
    with file.open() as stream:
        while not line.strip():
            raw = stream.readline(BLOCK_BYTES)
            if not raw:
                message = f"{file.path} has no header line."
                raise UnusableInput(message)
            line = raw.decode("utf-8-sig")
        start = stream.tell()
    cells = {d: next(csv.reader([line.strip("\r\n")], delimiter=d)) for d in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda d: len(cells[d]))
    names = [name.strip() for name in cells[delimiter]]
    if "" in names:
        message = f"{file.path}: column {names.index('') + 1} of the header has no name."
        raise UnusableInput(message)
    return names, delimiter, start


def _batches(
    source: Source, delimiter: str, start: int, block_bytes: int, progress: Progress
) -> Iterator[pa.RecordBatch]:
    broken: dict[int, BrokenRow] = {}

    def keep(row: pa_csv.InvalidRow) -> str:
        text = row.text[:10_000]
        broken[row.number] = BrokenRow(row.number, text, row.actual_columns, row.expected_columns)
        return "skip" if len(broken) <= BROKEN_LIMIT else "error"

    last, complete = 0, False
    with source.file.open() as stream:
        stream.seek(start)
        for batch in _parse(source, stream, delimiter, block_bytes, keep):
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


def _parse(
    source: Source,
    stream: io.BufferedIOBase,
    delimiter: str,
    block_bytes: int,
    keep: Callable[[pa_csv.InvalidRow], str],
) -> pa_csv.CSVStreamingReader:
    names = source.schema.names[1:]
    tail = b"\n" + delimiter.join([_END] * len(names)).encode() + b"\n"
    return pa_csv.open_csv(
        pa.PythonFile(_CsvStream(stream, tail), mode="r"),
        # One thread: only then are broken rows numbered.
        read_options=pa_csv.ReadOptions(
            use_threads=False, block_size=block_bytes, column_names=names
        ),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=keep
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _numbers(last: int, count: int, broken: dict[int, BrokenRow]) -> np.ndarray:
    """The next `count` record numbers after `last` that are not broken."""
    candidates = np.arange(last + 1, last + 1 + count + len(broken))
    if broken:
        candidates = candidates[~np.isin(candidates, list(broken))]
    return candidates[:count]
