"""Lines of a JSONL file, numbered; parsing them is DuckDB's work."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from feature_repo.errors import UnusableInput
from feature_repo.ingest.files import InputFile, Progress
from feature_repo.ingest.source import LINE, ROW, Kind, Source, SourceColumn

_BLOCK: Final = 1 << 22
_LONGEST_LINE: Final = 1 << 26
_SAMPLED_LINES: Final = 1_000
_SCHEMA: Final = pa.schema([pa.field(ROW, pa.int64()), pa.field(LINE, pa.string())])


def open_jsonl(file: InputFile, progress: Progress) -> Source:
    """Look at the first lines' keys; the rows follow when they are asked for."""
    with file.open() as stream:
        keys = _sampled_keys(stream)
    if not keys:
        message = f"{file.path}: none of its first lines is a JSON object."
        raise UnusableInput(message)
    columns = tuple(SourceColumn(key, Kind.TEXT) for key in keys)
    return Source(file, columns, _SCHEMA, _batches(file, progress))


def _sampled_keys(stream: io.BufferedIOBase) -> tuple[str, ...]:
    """The keys of the first thousand objects, in order of appearance."""
    keys: dict[str, None] = {}
    for _ in range(_SAMPLED_LINES):
        line = stream.readline(_LONGEST_LINE)
        if not line:
            break
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except ValueError:
            continue
        if isinstance(row, dict):
            keys |= dict.fromkeys(row)
    return tuple(keys)


def _batches(file: InputFile, progress: Progress) -> Iterator[pa.RecordBatch]:
    """Blank lines are no rows, but count."""
    number = 0
    for lines in _line_blocks(file):
        kept = [
            (number + i, line) for i, line in enumerate(lines, 1) if not line.isspace() and line
        ]
        number += len(lines)
        if kept:
            numbers, texts = zip(*kept, strict=True)
            arrays = [pa.array(numbers, pa.int64()), pa.array(texts, pa.string())]
            yield pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)
        progress(f"reading {file.path.name}", number, None)


def _line_blocks(file: InputFile) -> Iterator[list[bytes]]:
    rest = b""
    with file.open() as stream:
        rest = stream.read(3).removeprefix(b"\xef\xbb\xbf")
        while block := stream.read(_BLOCK):
            *lines, rest = (rest + block).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                message = f"{file.path} has a line longer than 64 MiB: it is not JSONL."
                raise UnusableInput(message)
            yield lines
    if rest:
        yield rest.split(b"\n")
