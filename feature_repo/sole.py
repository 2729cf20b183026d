"""One of a kind at a time: locks between the processes of an installation, and whole files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from feature_repo.errors import StoreUnavailable
from feature_repo.settings import Settings


@contextmanager
def only_one(settings: Settings, kind: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Nobody else of this installation does this kind of work meanwhile.

    Waits up to `wait_s` for somebody who does, for ever when it is negative. The system lets go
    of the lock when its holder dies, whatever killed it.

    Raises:
        StoreUnavailable: somebody else is at it still.
    """
    settings.state_path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.state_path / f"{kind}.lock", timeout=wait_s)
    try:
        lock.acquire()
    except Timeout as exc:
        message = f"Another {kind} of {settings.home} is running; wait for it to end."
        raise StoreUnavailable(message) from exc
    try:
        yield
    finally:
        lock.release()


def is_taken(settings: Settings, kind: str) -> bool:
    """Whether somebody of this installation does this kind of work now."""
    try:
        with only_one(settings, kind):
            return False
    except StoreUnavailable:
        return True


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that it appears as a whole, on the disk, or not at all."""
    part = path.with_suffix(".part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
