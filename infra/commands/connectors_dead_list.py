"""`foresend connectors dead list`: what a connector gave up, and why."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="Name of a connector in foresend.yaml.")] = "all",
    limit: Annotated[int, typer.Option(min=1, help="Most letters to show, oldest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the dead letters of connectors. Whom they are about is not shown."""
    import json
    import os

    from rich.console import Console
    from rich.table import Table

    from feature_repo.config import load_config
    from feature_repo.settings import load_settings
    from serving.routing.connectors.letters import dead_letters
    from serving.routing.connectors.process import chosen
    from serving.routing.connectors.settings import connector_settings

    settings = load_settings()
    connectors = chosen(connector_settings(load_config(settings), os.environ), name)
    letters = dead_letters(settings, connectors, limit)
    if as_json:
        typer.echo(json.dumps({"dead_letters": letters}))
        return
    if not letters:
        typer.echo("There are no dead letters.")
        return
    table = Table("id", "connector", "stream", "buried", "why")
    for letter in letters:
        table.add_row(*letter.values())
    Console().print(table)
