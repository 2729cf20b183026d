"""`foresend log compact`: merge the event log's small files."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    keep_days: Annotated[
        int, typer.Option(min=0, help="Keep files that versions younger than this need.")
    ] = 30,
) -> None:
    """Merge small files of the event log and drop files no recent version needs."""
    from datetime import timedelta

    from feature_repo.history.log import EventLog
    from feature_repo.settings import load_settings

    files = EventLog(load_settings().log_path).compact(keep=timedelta(days=keep_days))
    typer.echo(f"The event log is in {files} files.")
