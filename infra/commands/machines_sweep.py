"""`foresend machines sweep`: correct labels of machine events by what surrounds them."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one last line of JSON.")
    ] = False,
) -> None:
    """Look at what the log received since the last sweep and publish corrections.

    The running stack does this every minute. Doing it again changes nothing.
    """
    import json
    from dataclasses import asdict
    from datetime import UTC, datetime

    from rich.console import Console

    from feature_repo.ingest.machines.rules import load_rules
    from feature_repo.ingest.machines.sweep import sweep
    from feature_repo.ingest.settings import load_ingest_settings
    from feature_repo.settings import load_settings
    from feature_repo.stream.queue import open_queue

    settings = load_settings()
    rules = load_rules(load_ingest_settings().machines_path)
    queue = open_queue(settings)
    try:
        publisher = queue.publisher()
        with Console(stderr=True).status("Looking at the log"):
            swept = sweep(settings, publisher, lambda: datetime.now(UTC), rules)
        publisher.close()
    finally:
        queue.close()
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(swept.machines.items()))
    typer.echo(
        f"Looked at {swept.rows:,} new rows; corrected {swept.corrected:,} labels"
        + (f" ({kinds})." if kinds else ".")
    )
    if as_json:
        typer.echo(json.dumps(asdict(swept)))
