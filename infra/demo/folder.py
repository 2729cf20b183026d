"""The demo's data folder: fresh every time, and never someone's real data."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import Final

from feature_repo.errors import NotReady
from feature_repo.settings import Settings
from infra.stack.state import end_orphans, only_stack

MARKER: Final = "demo-folder"
"""A file of this name says that a folder was made by the demo and may be deleted by it."""


def fresh_folder(settings: Settings) -> Path:
    """An empty home folder for the demo; what an earlier demo left there is deleted.

    Raises:
        NotReady: a stack runs there, or the folder holds data that no demo made.
    """
    home = settings.home.absolute()
    if home.exists() and any(home.iterdir()) and not (home / MARKER).exists():
        message = (
            f"{home} holds data that the demo did not make, so it is left alone. "
            "Name another folder: FORESEND_HOME=/tmp/foresend-demo make demo"
        )
        raise NotReady(message)
    if home.exists():
        with only_stack(settings):
            end_orphans(settings)
            for entry in home.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    rmtree(entry)
                else:
                    entry.unlink()
    home.mkdir(parents=True, exist_ok=True)
    (home / MARKER).write_text("Made by `make demo`, which deletes everything in here.\n")
    return home
