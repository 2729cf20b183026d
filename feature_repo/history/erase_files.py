"""Erasure in files of rows: the prediction log, and the rows that imports set aside."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo import contract
from feature_repo.history.erase_person import Person

_FRESH: Final = ".erasing"


def erase_from_parquet(folder: Path, person: Person) -> int:
    """Write the Parquet files below a folder anew without the person's rows; how many there were.

    Files are exchanged whole; one of which nothing is left is deleted.
    """
    erased = 0
    for path in sorted(folder.rglob("*.parquet")):
        own = rows_of(path, person)
        if own:
            _rewrite(path, person)
            erased += own
    return erased


def rows_of(path: Path, person: Person) -> int:
    """Rows of the person in a Parquet file; 0 when it is not about customers."""
    if contract.ENTITY not in pq.read_schema(path).names:
        return 0
    # Not by name of the folders: they are no columns of the file.
    column = pq.ParquetFile(path).read([contract.ENTITY]).column(0)
    return int(pc.sum(_own(column, person)).as_py() or 0)


def _own(customers: pa.Array | pa.ChunkedArray, person: Person) -> Any:
    return pc.is_in(customers, value_set=pa.array(sorted(person.ids), pa.string()))


def _rewrite(path: Path, person: Person) -> None:
    file = pq.ParquetFile(path)
    fresh = path.with_name(f".{path.name}{_FRESH}")
    rows = 0
    try:
        with pq.ParquetWriter(fresh, file.schema_arrow, compression="zstd") as writer:
            for batch in file.iter_batches():
                kept = batch.filter(pc.invert(_own(batch.column(contract.ENTITY), person)))
                writer.write_batch(kept)
                rows += kept.num_rows
        if rows:
            fresh.replace(path)
        else:
            path.unlink()
    finally:
        fresh.unlink(missing_ok=True)


def erase_from_lines(folder: Path, person: Person) -> int:
    """Write the JSONL files of a folder anew without the lines about the person; their number."""
    erased = 0
    for path in sorted(folder.glob("*.jsonl")):
        own = lines_of(path, person)
        if not own:
            continue
        fresh = path.with_name(f".{path.name}{_FRESH}")
        with fresh.open("wb") as out:
            out.writelines(line for line in _lines(path) if not _is_about(line, person))
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
        erased += own
    return erased


def lines_of(path: Path, person: Person) -> int:
    """Lines of a JSONL file that are about the person."""
    return sum(_is_about(line, person) for line in _lines(path))


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _is_about(line: bytes, person: Person) -> bool:
    """Whether a row names the person; as a cell of its own, also where the id is not distinct."""
    if person.is_in_bytes(line):
        return True
    if person.customer_id.encode() not in line and b"\\u" not in line:
        return False
    with suppress(ValueError):
        raw = json.loads(line).get("raw")
        cells = raw.values() if isinstance(raw, dict) else raw if isinstance(raw, list) else [raw]
        return any(str(cell) == person.customer_id or person.is_in(cell) for cell in cells)
    return False
