"""`foresend quarantine accept`: a person takes a mapping version into use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[Path, typer.Argument(help="YAML of the next version of a mapping.")],
    by: Annotated[str, typer.Option(help="Who accepts it; kept in the file.")],
    why: Annotated[str, typer.Option(help="For whoever asks later; kept in the file.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one last line of JSON.")
    ] = False,
) -> None:
    """Check FILE and make it the newest version. Running services use it from their next event."""
    import json
    from datetime import UTC, datetime

    from feature_repo.ingest.drift.acceptance import accept
    from feature_repo.ingest.drift.desk import open_desk
    from feature_repo.ingest.settings import load_ingest_settings
    from feature_repo.settings import load_settings

    with open_desk(load_settings(), load_ingest_settings()) as desk:
        path = accept(file, desk.catalog, desk.mappings, by=by, why=why, at=datetime.now(UTC))
    typer.echo(f"{path.stem} is in use. Now: foresend quarantine replay")
    if as_json:
        typer.echo(json.dumps({"mapping_version": path.stem, "file": str(path)}))
