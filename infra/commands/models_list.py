"""`foresend models list`: the registered versions."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    target: Annotated[
        str | None, typer.Argument(help="Only this target.", show_default=False)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the versions as one last line of JSON.")
    ] = False,
) -> None:
    """List the registered versions: aliases, verdict, metrics on their test period."""
    import json
    from datetime import UTC, datetime

    from feature_repo.config import load_config
    from feature_repo.settings import load_settings

    settings = load_settings()
    if target is not None:
        load_config(settings).target(target)

    from infra.models_view import print_versions
    from training.listing import list_versions
    from training.promoting import note_alias_changes
    from training.registry import open_registry

    registry = open_registry(settings)
    targets = registry.targets() if target is None else [target]
    note_alias_changes(registry, lambda: datetime.now(UTC), targets)
    versions = list_versions(registry, targets)
    print_versions(versions)
    if as_json:
        typer.echo(json.dumps({"versions": versions}))
