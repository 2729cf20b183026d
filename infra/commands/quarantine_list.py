"""`foresend quarantine list`: what could not become events, by cause."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    provider: Annotated[str | None, typer.Option(help="Only of this provider.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show groups of quarantined events that failed alike, the largest first."""
    import json

    from feature_repo.ingest.drift.quarantine import Quarantine
    from feature_repo.settings import load_settings
    from infra.quarantine_view import group_json, print_groups

    quarantine = Quarantine(load_settings())
    groups = [g for g in quarantine.groups() if provider in (None, g.provider)]
    quarantine.close()
    if groups:
        print_groups(groups)
    else:
        typer.echo("The quarantine is empty.")
    if as_json:
        found = [group_json(group) for group in groups]
        typer.echo(json.dumps({"events": sum(g.count for g in groups), "groups": found}))
