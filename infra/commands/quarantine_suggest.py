"""`foresend quarantine suggest`: a mapping version that would fit what lies there."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    provider: Annotated[str, typer.Argument(help="E.g. sendgrid.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one last line of JSON.")
    ] = False,
) -> None:
    """Propose a new mapping version, with the evidence. Nothing changes until it is accepted."""
    import json
    from dataclasses import asdict
    from datetime import UTC, datetime

    from feature_repo.ingest.drift.desk import open_desk
    from feature_repo.ingest.settings import load_ingest_settings
    from feature_repo.settings import load_settings
    from infra.quarantine_view import print_suggestion

    with open_desk(load_settings(), load_ingest_settings()) as desk:
        found, trial = desk.suggest(provider, datetime.now(UTC))
        path = desk.keep_suggestion(found)
    print_suggestion(found, trial)
    if path is None:
        typer.echo("Nothing is certain enough to be proposed; see docs/schema-drift.md.")
    else:
        typer.echo(f"Look at it, then: foresend quarantine accept {path} --by YOUR_NAME")
    if as_json:
        result = {
            "file": None if path is None else str(path),
            "mapping_version": None if path is None else found.label,
            "renames": [{**asdict(one), "proposed": one.is_proposed} for one in found.renames],
            "retypes": [asdict(one) for one in found.retypes],
            "without_history": list(found.without_history),
            "trial": None if trial is None else asdict(trial),
        }
        typer.echo(json.dumps(result))
