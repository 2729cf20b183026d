"""`foresend status`: what the local stack runs, and whether it answers."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show each service: address, process, state, restarts. Exit 1 when one does not answer."""
    import json

    from rich.console import Console
    from rich.table import Table

    from feature_repo.settings import load_settings
    from infra.stack.status import services_status

    settings = load_settings()
    services = services_status(settings)
    healthy = bool(services) and all(service["answers"] for service in services)
    if as_json:
        typer.echo(json.dumps({"home": str(settings.home), "services": services}))
    elif not services:
        typer.echo(f"No stack runs for {settings.home}. Start one with `foresend up`.")
    else:
        table = Table("service", "address", "process", "state", "restarts", "answers")
        for service in services:
            table.add_row(*(str(value) for value in service.values()))
        Console().print(table)
    raise typer.Exit(0 if healthy else 1)
