"""`foresend report drift`: is what the model sees still what it was released on?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from feature_repo.errors import ConfigError


def command(
    target: Annotated[str, typer.Option("--target", help="Name of a target, e.g. purchase_30d.")],
    window: Annotated[
        int, typer.Option("--window", help="Days of predictions to compare with launch.")
    ] = 90,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="End of the window, ISO 8601, UTC if no offset. Default now."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the verdict as one JSON object, last.")
    ] = False,
) -> None:
    """Write the drift report. Exit 0: ok, a look or not enough data; 1: drift; 2: an error."""
    import orjson
    from rich.console import Console

    from feature_repo.settings import load_settings
    from monitoring.report import report_drift

    def now() -> datetime:
        return datetime.now(UTC)

    console = Console(stderr=True)
    with console.status("drift report") as progress:
        report = report_drift(
            load_settings(),
            target,
            days=window,
            as_of=now() if as_of is None else _moment(as_of),
            clock=now,
            say=progress.update,
        )
    typer.echo(report.verdict.headline)
    for sentence in (*report.verdict.causes, *report.verdict.remarks):
        typer.echo(f"- {sentence}")
    typer.echo(f"Report: {report.folder / 'index.html'}")
    if as_json:
        typer.echo(orjson.dumps(report.document).decode())
    raise typer.Exit(report.verdict.exit_code)


def _moment(text: str) -> datetime:
    """A moment in UTC; one without an offset is taken as UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        message = f"--as-of has value {text!r}; write it as 2026-03-01 or 2026-03-01T12:00+00:00."
        raise ConfigError(message) from exc
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
