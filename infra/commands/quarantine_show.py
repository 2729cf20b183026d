"""`foresend quarantine show`: one event that could not be mapped, and why."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="Id of an entry, or of a group for its example.")],
    reveal: Annotated[
        bool, typer.Option(help="Show the payload as it came, with personal data.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show reason, place and payload of an event; what names a person is masked."""
    import json

    from feature_repo.ingest.drift.quarantine import Quarantine
    from feature_repo.settings import load_settings
    from infra.quarantine_view import entry_json, find_entry, print_entry

    quarantine = Quarantine(load_settings())
    entry = find_entry(quarantine, name)
    quarantine.close()
    if as_json:
        typer.echo(json.dumps(entry_json(entry, reveal=reveal)))
    else:
        print_entry(entry, reveal=reveal)
