"""`foresend keys list`: the API keys there are, never the keys themselves."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the name, age, scopes and limits of each API key."""
    import json
    from datetime import UTC, datetime

    from rich.console import Console
    from rich.table import Table

    from feature_repo.api_keys import KeyFile, keys_path
    from feature_repo.settings import load_settings

    keys = KeyFile(keys_path(load_settings())).keys()
    now = datetime.now(UTC)
    if as_json:
        shown = [
            {
                "name": key.name,
                "created_at": key.created_at,
                "scopes": list(key.scopes),
                "rate": key.rate,
                "burst": key.burst,
                "expires_at": key.expires_at and key.expires_at.isoformat(timespec="seconds"),
                "is_expired": not key.hashes(now),
                "secrets": len(key.hashes(now)),
            }
            for key in keys
        ]
        typer.echo(json.dumps({"keys": shown}))
    elif not keys:
        typer.echo("There are no API keys. Make one with `foresend keys add NAME`.")
    else:
        table = Table("name", "created", "may", "at most", "expires", "secrets let in")
        for key in keys:
            rate = "" if key.rate is None else f"{key.rate:g}/s"
            expires = "" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M} UTC"
            let_in = str(len(key.hashes(now)))
            may = ", ".join(key.scopes)
            table.add_row(key.name, key.created_at, may, rate, expires, let_in)
        Console().print(table)
