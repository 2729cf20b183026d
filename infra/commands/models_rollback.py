"""`foresend models rollback TARGET`: serve the version before again."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A target that has models.", show_default=False)],
    by: Annotated[
        str | None, typer.Option(help="Who goes back; default: you.", show_default=False)
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for its history.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the aliases as one last line of JSON.")
    ] = False,
) -> None:
    """Make the version before the champion of TARGET again; twice is back where it was."""
    import json
    from datetime import UTC, datetime

    from feature_repo.settings import load_settings
    from infra.person import who_runs_this
    from training.promoting import roll_back
    from training.registry import CHAMPION, PREVIOUS, open_registry

    aliases = roll_back(
        open_registry(load_settings()),
        target,
        by=by or who_runs_this(),
        clock=lambda: datetime.now(UTC),
        reason=reason,
    )
    typer.echo(
        f"{target} version {aliases[CHAMPION]} is champion again, in place of version "
        f"{aliases[PREVIOUS]}."
    )
    if as_json:
        typer.echo(json.dumps({"target": target, "aliases": aliases}))
