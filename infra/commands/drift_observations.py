"""`foresend quarantine observations`: how the structure of payloads changed."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    provider: Annotated[str | None, typer.Option(help="Only of this provider.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show new, vanished and retyped fields, new words, and fields that became empty."""
    import json

    from feature_repo.ingest.drift.ledger import Ledger
    from feature_repo.settings import load_settings
    from infra.quarantine_view import print_observations

    ledger = Ledger(load_settings())
    found = ledger.observations(provider)
    ledger.close()
    if found:
        print_observations(found)
    else:
        typer.echo("Nothing has changed since the first events of each kind.")
    if as_json:
        shown = [
            {
                "provider": one.provider,
                "word": one.word,
                "kind": one.kind.value,
                "path": one.path,
                "detail": one.detail,
                "first_seen": one.first_seen.isoformat(),
                "last_seen": one.last_seen.isoformat(),
                "count": one.count,
                "over": one.over,
            }
            for one in found
        ]
        typer.echo(json.dumps({"observations": shown}))
