"""`foresend queue replay`: hand dead letters to their group once more."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids from `foresend queue dead`.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    stream: Annotated[
        str, typer.Option(help="events, score.requests, score.results or score.changed.")
    ] = "events",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Put dead letters back into the queue, after the cause was mended.

    Safe to repeat: an event that was handled already changes nothing.
    """
    import json

    from feature_repo.errors import ConfigError
    from feature_repo.settings import load_settings
    from feature_repo.stream.queue import open_queue
    from feature_repo.stream.score_streams import stream_named

    if bool(ids) == everything:
        message = "Name the letters by their ids, or say --all."
        raise ConfigError(message)
    queue = open_queue(load_settings(), stream=stream_named(stream))
    replayed = 0
    try:
        if ids:
            replayed = queue.revive(ids)
        else:
            # Those that die again meanwhile come after these, and stay.
            wanted = [letter.id for letter in queue.dead(limit=1_000_000)]
            for start in range(0, len(wanted), 1_000):
                replayed += queue.revive(wanted[start : start + 1_000])
    finally:
        queue.close()
    if as_json:
        typer.echo(json.dumps({"replayed": replayed}))
    else:
        typer.echo(f"Put {replayed:,} dead letters back into the queue.")
