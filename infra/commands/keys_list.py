"""`foresend keys list`: the API keys there are, never the keys themselves."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the name, age and scopes of each API key."""
    import json

    from rich.console import Console
    from rich.table import Table

    from feature_repo.api_keys import KeyFile, keys_path
    from feature_repo.settings import load_settings

    keys = KeyFile(keys_path(load_settings())).keys()
    if as_json:
        shown = [
            {"name": key.name, "created_at": key.created_at, "scopes": list(key.scopes)}
            for key in keys
        ]
        typer.echo(json.dumps({"keys": shown}))
    elif not keys:
        typer.echo("There are no API keys. Make one with `foresend keys add NAME`.")
    else:
        table = Table("name", "created", "may")
        for key in keys:
            table.add_row(key.name, key.created_at, ", ".join(key.scopes))
        Console().print(table)
