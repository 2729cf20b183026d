"""`foresend queue status`: how full the queue is, and how far each group is behind."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    stream: Annotated[
        str, typer.Option(help="events, score.requests, score.results or score.changed.")
    ] = "events",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the queue's fullness, each group's backlog, and the number of dead letters."""
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from feature_repo.settings import load_settings
    from feature_repo.stream.queue import open_queue
    from feature_repo.stream.score_streams import stream_named

    settings = load_settings()
    found = stream_named(stream)
    queue = open_queue(settings, stream=found)
    try:
        groups = {group: queue.backlog(group) for group in found.groups}
        fullness, dead = queue.fullness(), len(queue.dead(limit=1_000))
    finally:
        queue.close()
    if as_json:
        told = {
            "queue": settings.queue,
            "fullness": fullness,
            "groups": {group: asdict(backlog) for group, backlog in groups.items()},
            "dead_letters": dead,
        }
        typer.echo(json.dumps(told))
        return
    table = Table("group", "messages behind", "of these handed out", "oldest")
    for group, backlog in groups.items():
        age = f"{backlog.oldest_age_s:.1f} s"
        table.add_row(group, f"{backlog.messages:,}", f"{backlog.pending:,}", age)
    Console().print(table)
    many = "1,000 or more" if dead == 1_000 else str(dead)
    typer.echo(f"The queue ({settings.queue}) is {fullness:.0%} full. Dead letters: {many}.")
