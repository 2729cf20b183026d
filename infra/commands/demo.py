"""`foresend demo`: the main job on the real purchases that ship with the project."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    once: Annotated[bool, typer.Option("--once", help="Stop the stack at the end.")] = False,
) -> None:
    """Import real purchases, train, promote, load, score over HTTP and report drift."""
    import os

    from rich.console import Console

    from feature_repo.settings import load_settings
    from infra.demo.run import run_demo

    settings = load_settings()
    # The commands of the demo are processes of their own; they must mean the same folder.
    os.environ["FORESEND_HOME"] = str(settings.home.absolute())
    run_demo(settings, Console(), once=once)
