"""`foresend features load`: fill the online store from the feature tables."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    as_of: Annotated[
        str | None, typer.Option(help="Load what was known at this time (ISO 8601); default: now.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Write every customer again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write each customer's newest features to Redis; after the first time, only what is new."""
    import json
    from dataclasses import asdict
    from datetime import UTC, datetime

    from rich.console import Console

    from feature_repo import addresses, online
    from feature_repo.errors import ConfigError
    from feature_repo.load import load
    from feature_repo.settings import load_settings

    settings = load_settings()
    try:
        at = datetime.now(UTC) if as_of is None else datetime.fromisoformat(as_of)
    except ValueError as exc:
        message = f"--as-of {as_of!r} is not a time; write it like 2011-12-01T00:00:00+00:00."
        raise ConfigError(message) from exc
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    with (
        online.connect(addresses.redis_url(settings)) as client,
        Console(stderr=True).status("Loading") as status,
    ):
        done = load(
            settings,
            client,
            as_of=at,
            full=full,
            progress=lambda view, rows: status.update(f"{view}: {rows:,} rows"),
        )
    if as_json:
        typer.echo(json.dumps(asdict(done) | {"through": done.through.isoformat()}))
        return
    how = "all" if done.full else "new"
    pace = done.rows / max(done.seconds, 1e-9)
    typer.echo(
        f"Loaded {how} rows: {done.rows:,} of {done.customers:,} customers in {done.seconds:.1f} s "
        f"({pace:,.0f} rows/s); complete through {done.through.isoformat()}."
    )
