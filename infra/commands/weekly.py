"""`foresend weekly`: every target trained on what is known, judged and reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_repo.settings import Settings


def command(
    as_of: Annotated[
        str | None,
        typer.Option(help="An ISO week (2026-W47: as it ended) or a time, ISO 8601; default: now."),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Only this target; may be given several times.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Train again what is done.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one last line of JSON.")
    ] = False,
) -> None:
    """Bring features up to date, then audit, train, judge and propose tiers for every target.

    A target that was trained this week is not trained again; killed, it goes on when started
    again. Exit 0: done; 1: the audit found a leak; 2: something did not work; 3: a gate did not
    pass; 4: data are not ready. The first of 1, 2, 3, 4 that holds of a target is told.
    """
    import json
    from datetime import UTC, datetime

    from feature_repo.config import load_config
    from feature_repo.settings import load_settings
    from infra.moment import parse_moment

    def clock() -> datetime:
        return datetime.now(UTC)

    settings = load_settings()
    config = load_config(settings)
    targets = [config.target(name).name for name in target or config.targets]

    from feature_repo.deliverability.pull import configured
    from infra.weekly_view import print_week, progress_line
    from training.weekly.run import Work, run_week
    from training.weekly.state import Moment, end_of_week, week_of

    moment = Moment(at=clock())
    if as_of is not None and as_of != week_of(moment.at):
        chosen = end_of_week(as_of) or parse_moment("--as-of", as_of)
        moment = Moment(at=chosen, is_chosen=True)
    with progress_line() as progress:
        work = Work(
            settings=settings,
            config=config,
            moment=moment,
            targets=targets,
            clock=clock,
            progress=progress,
            pull=_pull(settings) if configured() else None,
        )
        week = run_week(work, force=force)
    print_week(week)
    if as_json:
        typer.echo(json.dumps({**week.document, "exit_code": week.exit_code}))
    raise typer.Exit(week.exit_code)


def _pull(settings: Settings) -> Callable[[Callable[[str], None]], object]:
    """Asks the placement sources that have credentials."""
    from feature_repo.deliverability.pull import configured, pull, real_pace

    return lambda progress: pull(
        settings,
        configured(),
        pace=real_pace(),
        progress=lambda step, number, total: progress(f"placement: {step}"),
    )
