"""`foresend schedule history`: what ran, when, and how it ended."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    job: Annotated[str | None, typer.Argument(help="Only this job.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many runs, newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the runs of all jobs or of one, newest first, with their log files."""
    import json

    from feature_repo.settings import load_settings
    from infra.schedule_view import print_runs, run_rows
    from infra.scheduler.ledger import Ledger

    rows = run_rows(Ledger(load_settings()).runs(job, limit=limit))
    if as_json:
        typer.echo(json.dumps({"runs": rows}))
    else:
        print_runs(rows)
