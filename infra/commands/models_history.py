"""`foresend models history TARGET`: who made which version champion, when and why."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A target that has models.", show_default=False)],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the moves as one last line of JSON.")
    ] = False,
) -> None:
    """List every change of TARGET's champion, newest first; also those made in MLflow itself."""
    import json
    from datetime import UTC, datetime

    from feature_repo.settings import load_settings
    from infra.models_view import print_moves
    from training.listing import list_moves
    from training.promoting import note_alias_changes
    from training.registry import open_registry

    registry = open_registry(load_settings())
    note_alias_changes(registry, lambda: datetime.now(UTC), [target])
    moves = list_moves(registry, target)
    print_moves(target, moves)
    if as_json:
        typer.echo(json.dumps({"target": target, "moves": moves}))
