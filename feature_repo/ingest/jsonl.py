"""Lines of a JSONL file, numbered, in bounded memory; parsing them is DuckDB's work."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from feature_repo.errors import UnusableInput
from feature_repo.ingest.files import InputFile, Progress

_BLOCK: Final = 1 << 22
_LONGEST_LINE: Final = 1 << 26
_SAMPLED_LINES: Final = 1_000


def sampled_keys(stream: io.BufferedIOBase) -> tuple[str, ...]:
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


def line_batches(
    file: InputFile, schema: pa.Schema, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """Batches of (line number from 1, line); blank lines are no rows.

    Raises:
        UnusableInput: a line is longer than 64 MiB.
    """
    number = 0
    for lines in _line_blocks(file):
        kept = [
            (number + i, line) for i, line in enumerate(lines, 1) if not line.isspace() and line
        ]
        number += len(lines)
        if kept:
            numbers, texts = zip(*kept, strict=True)
            arrays = [pa.array(numbers, pa.int64()), pa.array(texts, pa.string())]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
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
