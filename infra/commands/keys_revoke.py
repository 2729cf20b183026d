"""`foresend keys revoke`: an API key that is no longer let in."""

from __future__ import annotations

from typing import Annotated

import typer


def command(name: Annotated[str, typer.Argument(help="The name it was made with.")]) -> None:
    """Revoke an API key; running servers refuse it within a second."""
    from feature_repo.api_keys import KeyFile, keys_path
    from feature_repo.settings import load_settings

    KeyFile(keys_path(load_settings())).revoke(name)
    typer.echo(f"Key {name!r} is revoked.")
