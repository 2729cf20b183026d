"""Folders for work files that do not outlive their process, and the sweeping of those left."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from filelock import FileLock, Timeout

from feature_repo.settings import Settings


@contextmanager
def scratch_folder(settings: Settings, prefix: str) -> Iterator[Path]:
    """A new folder under `settings.scratch_path`, deleted at the end.

    A process that is killed leaves its folder; the next one deletes it. A lock beside the folder,
    which the system drops with the process, tells the living from the dead.
    """
    settings.scratch_path.mkdir(parents=True, exist_ok=True)
    sweep(settings)
    folder = settings.scratch_path / f"{prefix}-{uuid.uuid4().hex}"
    with FileLock(f"{folder}.lock"):
        folder.mkdir()
        try:
            yield folder
        finally:
            rmtree(folder, ignore_errors=True)
            Path(f"{folder}.lock").unlink(missing_ok=True)


def sweep(settings: Settings) -> int:
    """Delete the folders whose process is gone; returns how many there were."""
    swept = 0
    for lock in settings.scratch_path.glob("*.lock"):
        try:
            with FileLock(lock, timeout=0):
                rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
                swept += 1
        except Timeout:
            continue
    return swept
