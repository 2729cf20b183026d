"""`foresend features build`: bring the feature tables up to the event log."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    full: Annotated[bool, typer.Option("--full", help="Build every row again.")] = False,
    through: Annotated[
        str | None,
        typer.Option(help="Let daily windows pass until this time (ISO 8601); default: now."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Build the feature tables of what the log received since the last build; or all of them."""
    import json
    import time
    from dataclasses import asdict
    from datetime import UTC, datetime

    from feature_repo.errors import ConfigError
    from feature_repo.history.build import build
    from feature_repo.settings import load_settings
    from infra.build_view import print_summary, progress_bar

    try:
        until = datetime.now(UTC) if through is None else datetime.fromisoformat(through)
    except ValueError as exc:
        message = f"--through {through!r} is not a time; write it like 2011-12-01T00:00:00+00:00."
        raise ConfigError(message) from exc
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    started = time.perf_counter()
    with progress_bar() as listen:
        result = build(load_settings(), full=full, through=until, progress=listen)
    seconds = time.perf_counter() - started
    if as_json:
        typer.echo(json.dumps({**asdict(result), "seconds": round(seconds, 3)}))
    else:
        print_summary(result, seconds)
