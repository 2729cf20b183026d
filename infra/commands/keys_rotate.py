"""`foresend keys rotate`: a new secret for an API key, while the old one goes on for a time."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="The name it was made with.")],
    grace: Annotated[
        str, typer.Option(help="How long the old secret is still let in; 0s: not at all.")
    ] = "24h",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Give a key a new secret and print it. Both are let in until the grace ends."""
    import json
    from datetime import UTC, datetime

    from feature_repo.api_keys import KeyFile, keys_path
    from feature_repo.settings import load_settings
    from infra.key_words import time_of

    lasts = time_of("--grace", grace)
    keys = KeyFile(keys_path(load_settings()))
    secret = keys.rotate(name, grace=lasts, clock=lambda: datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps({"name": name, "key": secret, "grace_s": lasts.total_seconds()}))
        return
    until = "The old one is refused now" if not lasts else f"The old one is let in for {grace} more"
    typer.echo(f"Key {name!r} has a new secret. {until}. Keep the new one now:", err=True)
    typer.echo(secret)
