"""`foresend connectors check`: whether the tools can be used as they are configured."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="Name of a connector in foresend.yaml.")] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask each tool whether it answers, lets us in and has the fields; exit 1 when one does not.

    Nothing is changed in any of them. A webhook is sent a signed body without messages.
    """
    import json
    import os

    from feature_repo.config import load_config
    from feature_repo.errors import ForesendError
    from feature_repo.settings import load_settings
    from serving.routing.connectors.kinds import Means, open_connector
    from serving.routing.connectors.process import chosen, real_pace
    from serving.routing.connectors.settings import connector_settings

    settings = load_settings()
    connectors = chosen(connector_settings(load_config(settings), os.environ), name)
    means = Means(pace=real_pace(), home=settings.home.absolute())
    found = []
    for one in connectors:
        try:
            connector = open_connector(one, means)
            try:
                text, is_usable = connector.check(), True
            finally:
                connector.close()
        except ForesendError as exc:
            text, is_usable = str(exc), False
        found.append({"name": one.name, "kind": one.kind, "is_usable": is_usable, "found": text})
        if not as_json:
            typer.echo(
                f"{one.name} ({one.kind}): {'usable' if is_usable else 'NOT USABLE'}; {text}"
            )
    if as_json:
        typer.echo(json.dumps({"connectors": found}))
    if not all(one["is_usable"] for one in found):
        raise typer.Exit(1)
