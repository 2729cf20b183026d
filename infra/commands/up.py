"""`foresend up`: the whole local stack in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    insecure_local: Annotated[
        bool, typer.Option("--insecure-local", help="No API keys; loopback only.")
    ] = False,
) -> None:
    """Run Redis, MLflow and the API for FORESEND_HOME until Ctrl-C or SIGTERM."""
    import asyncio

    from rich.console import Console

    from feature_repo.settings import load_settings
    from infra.stack.service import local_services
    from infra.stack.state import end_orphans, only_stack
    from infra.stack.supervisor import Supervisor

    settings = load_settings()
    console = Console()
    with only_stack(settings):
        for name in end_orphans(settings):
            console.print(f"ended {name}, left over from a stack that was killed")
        services = local_services(settings, insecure_local=insecure_local)
        code = asyncio.run(Supervisor(settings, services, console).run())
    raise typer.Exit(code)
