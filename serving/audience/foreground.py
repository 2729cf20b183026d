"""One segment scored in this process, from a file to a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from feature_repo.addresses import redis_url
from feature_repo.errors import UnusableInput
from feature_repo.settings import Settings
from serving.audience.intake import CSV, PARQUET, read_file
from serving.audience.jobs import Job, JobStore
from serving.audience.runner import open_worker
from serving.errors import InvalidRequest
from serving.online.bulk_reader import BulkReader
from serving.settings import ServingSettings

_FORMS: Final = {".csv": CSV, ".parquet": PARQUET}


def score_file(
    settings: Settings,
    limits: ServingSettings,
    file: Path,
    out: Path,
    *,
    target: str,
    send_at: str | None,
    told: Callable[[Job], None],
) -> Job:
    """Score the customers of a file; `out` appears when all of it is there.

    Raises:
        UnusableInput: the file cannot be read, or `out` cannot be written.
        StoreUnavailable: no Redis is known.
    """
    body = _read(file)
    try:
        intake = read_file(body, _form(file), target, send_at)
    except InvalidRequest as exc:
        message = f"{file}: {exc.detail}"
        raise UnusableInput(message) from exc
    with (
        _scratch(out) as folder,
        BulkReader(redis_url(settings), project=settings.project) as reader,
    ):
        jobs = JobStore(Path(folder), lambda: datetime.now(UTC))
        job = jobs.submit(intake.target, intake.customers, send_at=intake.send_at, by="cli")
        done = open_worker(settings, limits, jobs, reader, lambda: False, told).work(job)
        if done.problem is None:
            jobs.result(done).replace(out)
    return done


def _form(file: Path) -> str:
    if file.suffix not in _FORMS:
        message = f"{file} ends in {file.suffix!r}; give a file that ends in .csv or .parquet."
        raise UnusableInput(message)
    return _FORMS[file.suffix]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        message = f"{file} cannot be read: {exc.strerror}. Give a readable file."
        raise UnusableInput(message) from exc


def _scratch(out: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder beside the result, so that it can be moved there in one piece."""
    try:
        return tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".audience-")
    except OSError as exc:
        message = f"{out} cannot be written: {exc.strerror}. Choose a folder that exists."
        raise UnusableInput(message) from exc
