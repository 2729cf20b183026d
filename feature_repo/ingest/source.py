"""An open file: its columns, and its rows as numbered Arrow batches that never hold it whole.

Columns are renamed c0, c1 ... so that no name of a user's file is ever an SQL name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import pyarrow as pa

from feature_repo.errors import UnusableInput
from feature_repo.ingest.files import InputFile

ROW: Final = "row_no"
"""Column of the batches: the number of the row in its file, from 1."""

LINE: Final = "line"
"""Column of a JSONL file's batches: the line as it is."""


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
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch] = field(default_factory=lambda: iter(()))
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


def cells_schema(types: list[pa.DataType]) -> pa.Schema:
    """Schema of batches: the row's number, then the cells."""
    cells = [pa.field(f"c{number}", type_) for number, type_ in enumerate(types)]
    return pa.schema([pa.field(ROW, pa.int64()), *cells])


def refuse_repeats(file: InputFile, names: list[str]) -> None:
    """Stop when a column's name occurs twice.

    Raises:
        UnusableInput: naming the column.
    """
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        message = f"{file.path} has the column {repeated[0]!r} more than once. Rename one of them."
        raise UnusableInput(message)
