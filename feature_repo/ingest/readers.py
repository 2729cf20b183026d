"""Open a file by its form."""

from __future__ import annotations

import csv
from typing import Final

import pyarrow as pa

from feature_repo.errors import UnusableInput
from feature_repo.ingest.csv_rows import open_csv
from feature_repo.ingest.files import Form, InputFile, Progress
from feature_repo.ingest.jsonl_rows import open_jsonl
from feature_repo.ingest.parquet_rows import open_parquet
from feature_repo.ingest.source import Source

_READERS: Final = {Form.PARQUET: open_parquet, Form.CSV: open_csv, Form.JSONL: open_jsonl}


def open_source(file: InputFile, progress: Progress) -> Source:
    """Open a file; its rows are read later, once.

    Raises:
        UnusableInput: it is damaged, has no rows, or names a column twice.
    """
    try:
        return _READERS[file.form](file, progress)
    except (pa.ArrowException, OSError, csv.Error) as exc:
        message = f"{file.path} is damaged or not {file.form}: {exc}."
        raise UnusableInput(message) from exc
