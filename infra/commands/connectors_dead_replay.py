"""`foresend connectors dead replay`: deliver dead letters once more."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="Name of a connector in foresend.yaml.")],
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids from `foresend connectors dead list`.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of its dead letters.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Put dead letters back for the connector, after the cause was mended.

    Those that have expired meanwhile, or are older than what was delivered since, are dropped.
    """
    import json
    import os

    from feature_repo.config import load_config
    from feature_repo.errors import ConfigError
    from feature_repo.settings import load_settings
    from serving.routing.connectors.letters import replay
    from serving.routing.connectors.process import chosen
    from serving.routing.connectors.settings import connector_settings

    if bool(ids) == everything:
        message = "Name the letters by their ids, or say --all."
        raise ConfigError(message)
    settings = load_settings()
    connectors = chosen(connector_settings(load_config(settings), os.environ), name)
    replayed = replay(settings, connectors, None if everything else ids)
    if as_json:
        typer.echo(json.dumps({"replayed": replayed}))
    else:
        typer.echo(f"Put {replayed:,} dead letters back into the queue.")
