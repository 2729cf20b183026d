"""`foresend models promote TARGET VERSION`: serve this version."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A target that has models.", show_default=False)],
    version: Annotated[str, typer.Argument(help="Number of its version.", show_default=False)],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the aliases as one last line of JSON.")
    ] = False,
) -> None:
    """Make VERSION the champion of TARGET: serving follows it, drift is measured from it."""
    import json

    from feature_repo.settings import load_settings
    from training.registry import PREVIOUS, open_registry

    aliases = open_registry(load_settings()).promote(target, version)
    typer.echo(f"{target} version {version} is champion.")
    if PREVIOUS in aliases:
        typer.echo(f"Before it, version {aliases[PREVIOUS]} was; promote that to go back.")
    if as_json:
        typer.echo(json.dumps({"target": target, "version": version, "aliases": aliases}))
