"""`foresend models webhook URL`: let MLflow ring when a model is promoted."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    url: Annotated[
        str,
        typer.Argument(
            help="Where MLflow reaches `foresend serve`, e.g. https://scores.example:8443.",
            show_default=False,
        ),
    ],
    test: Annotated[
        bool, typer.Option("--test", help="Let MLflow deliver once now, and say how it went.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make MLflow's webhook to URL, or renew the one there is, so that a promotion is served at
    once and not at the next poll. The secret is that of FORESEND_SERVING_MLFLOW_WEBHOOK_SECRET,
    or a new one, which is printed.
    """
    import json
    import secrets

    from feature_repo.errors import StoreUnavailable
    from feature_repo.settings import load_settings
    from infra.mlflow_webhook import complete, ensure, try_out
    from serving.settings import load_serving_settings
    from training.registry import open_registry

    address = complete(url)
    known = load_serving_settings().mlflow_webhook_secret
    secret = secrets.token_urlsafe(32) if known is None else known.get_secret_value()
    registry = open_registry(load_settings())
    hooked = ensure(registry, address, secret)
    problem = try_out(registry, hooked) if test else None
    setting = f"FORESEND_SERVING_MLFLOW_WEBHOOK_SECRET={secret}"
    if as_json:
        told = {"webhook_id": hooked.webhook_id, "url": hooked.url, "was_there": hooked.was_there}
        shown = {"secret": secret} if known is None else {}
        typer.echo(json.dumps({**told, **shown, "test": problem or "ok"} if test else told | shown))
    else:
        verb = "rings already, from now on with this secret," if hooked.was_there else "will ring"
        typer.echo(f"MLflow {verb} at {hooked.url}, within a minute.", err=True)
        if known is None:
            typer.echo("Start `foresend serve` with this setting; it is not shown again:", err=True)
            typer.echo(setting)
    if problem is not None:
        message = f"MLflow's trial delivery to {hooked.url} was not taken: {problem}."
        raise StoreUnavailable(message)
