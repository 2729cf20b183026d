"""`foresend schedule list`: the jobs, when they ran and when they run next."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show each job: its command, its times, its last run, whether it runs now."""
    import json
    from datetime import UTC, datetime

    from feature_repo.config import load_config
    from feature_repo.settings import load_settings
    from infra.schedule_view import job_rows, print_jobs
    from infra.scheduler.jobs import schedule_of
    from infra.scheduler.ledger import Ledger
    from infra.scheduler.words import problem_of

    settings = load_settings()
    schedule = schedule_of(load_config(settings), problem_of)
    rows = job_rows(schedule, Ledger(settings), datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps({"timezone": schedule.timezone, "jobs": rows}))
    else:
        print_jobs(rows)
