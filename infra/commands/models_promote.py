"""`foresend models promote TARGET VERSION`: serve this version."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A target that has models.", show_default=False)],
    version: Annotated[str, typer.Argument(help="Number of its version.", show_default=False)],
    by: Annotated[
        str | None, typer.Option(help="Who promotes; default: you.", show_default=False)
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for its history.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Even when its gates failed; needs --reason.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the aliases as one last line of JSON.")
    ] = False,
) -> None:
    """Make VERSION the champion of TARGET: serving follows it, drift is measured from it."""
    import json
    from datetime import UTC, datetime

    from feature_repo.settings import load_settings
    from infra.person import who_runs_this
    from training.promoting import promote
    from training.registry import PREVIOUS, open_registry

    aliases = promote(
        open_registry(load_settings()),
        target,
        version,
        by=by or who_runs_this(),
        clock=lambda: datetime.now(UTC),
        reason=reason,
        force=force,
    )
    typer.echo(f"{target} version {version} is champion.")
    if PREVIOUS in aliases:
        typer.echo(
            f"Before it, version {aliases[PREVIOUS]} was; `foresend models rollback {target}` "
            "goes back."
        )
    if as_json:
        typer.echo(json.dumps({"target": target, "version": version, "aliases": aliases}))
