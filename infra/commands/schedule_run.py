"""`foresend schedule run JOB`: one job, now."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    job: Annotated[str, typer.Argument(help="A job of foresend.yaml.", show_default=False)],
) -> None:
    """Run JOB now, show what it says and end with its exit code.

    It goes into the history, and what was due of it before counts as done.
    """
    import sys
    from datetime import UTC, datetime

    from feature_repo.config import load_config
    from feature_repo.settings import load_settings
    from feature_repo.stream.worker_health import WorkerHealth
    from feature_repo.stream.worker_process import stopped_by_signals
    from infra.scheduler.jobs import schedule_of
    from infra.scheduler.ledger import By, Ledger
    from infra.scheduler.runner import Runner
    from infra.scheduler.words import problem_of

    def clock() -> datetime:
        return datetime.now(UTC)

    settings = load_settings()
    chosen = schedule_of(load_config(settings), problem_of).job(job)
    runner = Runner(settings=settings, ledger=Ledger(settings), clock=clock)
    with stopped_by_signals(WorkerHealth()) as stop:
        ended = runner.run(chosen, by=By.HAND, due=clock(), stop=stop, echo=sys.stdout)
    code = ended.exit_code
    typer.echo(f"{job}: {ended.state.value}, exit code {code}.", err=True)
    # Of a child that a signal ended, as shells say it.
    raise typer.Exit(1 if code is None else code if code >= 0 else 128 - code)
