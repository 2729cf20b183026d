"""`foresend queue dead`: what no group could digest."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    limit: Annotated[int, typer.Option(min=1, help="Most letters to show, oldest first.")] = 20,
    discard: Annotated[
        list[str] | None, typer.Option(help="Forget this letter for good; may be repeated.")
    ] = None,
    stream: Annotated[
        str, typer.Option(help="events, score.requests, score.results or score.changed.")
    ] = "events",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List dead letters: which group gave up, when, on how many events, and why.

    Events are personal data and are not shown; `event` is the start of a digest, as in the logs.
    """
    import json

    from rich.console import Console
    from rich.table import Table

    from feature_repo.settings import load_settings
    from feature_repo.stream.queue import open_queue
    from feature_repo.stream.score_streams import stream_named
    from infra.letter_view import letter_view

    queue = open_queue(load_settings(), stream=stream_named(stream))
    try:
        discarded = queue.discard(discard) if discard else 0
        letters = [letter_view(letter) for letter in queue.dead(limit)]
    finally:
        queue.close()
    if as_json:
        typer.echo(json.dumps({"dead_letters": letters, "discarded": discarded}))
        return
    if discard:
        typer.echo(f"Discarded {discarded} of {len(discard)}.")
    if not letters:
        typer.echo("There are no dead letters.")
        return
    table = Table("id", "group", "buried", "events", "event", "why")
    for letter in letters:
        table.add_row(*(str(value) for value in letter.values()))
    Console().print(table)
    typer.echo("After mending the cause: `foresend queue replay ID...` or `--all`.")
