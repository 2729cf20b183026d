"""`foresend keys add`: a new API key, shown once."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="Who or what will use it, e.g. `mailer-eu`.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do: score, ingest, admin. Repeatable.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="Scoring requests at most, e.g. 1000/s. None: no limit.")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(min=1, help="Requests at once after a pause; with --rate.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="After this time it is refused, e.g. 90d.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make an API key and print it. Only its hash is kept, so it cannot be shown again."""
    import json
    from datetime import UTC, datetime

    from feature_repo.api_keys import KeyFile, Scope, keys_path
    from feature_repo.errors import ConfigError
    from feature_repo.settings import load_settings
    from infra.key_words import rate_of, time_of

    unknown = [word for word in scope or () if word not in tuple(Scope)]
    if unknown:
        message = f"--scope {unknown[0]!r} is not one of: {', '.join(Scope)}."
        raise ConfigError(message)
    if burst is not None and rate is None:
        message = f"--burst {burst} needs a --rate, such as --rate {burst}/s."
        raise ConfigError(message)
    now = datetime.now(UTC)
    scopes = tuple(Scope(word) for word in dict.fromkeys(scope or (Scope.SCORE,)))
    keys = KeyFile(keys_path(load_settings()))
    key, secret = keys.add(
        name,
        scopes,
        clock=lambda: now,
        expires_at=None if expires is None else now + time_of("--expires", expires),
        rate=None if rate is None else rate_of(rate),
        burst=burst,
    )
    if as_json:
        typer.echo(json.dumps({"name": key.name, "key": secret, "scopes": list(key.scopes)}))
        return
    typer.echo(f"Key {key.name!r} may: {', '.join(key.scopes)}. Keep it now:", err=True)
    typer.echo(secret)
