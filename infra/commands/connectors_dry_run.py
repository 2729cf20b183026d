"""`foresend connectors dry-run`: what would be written into a tool, without writing it."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="Name of a connector in foresend.yaml.")],
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most messages to show.")] = 10,
    wait_s: Annotated[
        float, typer.Option(min=0.0, max=60.0, help="Seconds to wait for one.")
    ] = 2.0,
) -> None:
    """Show the next messages of the connector as lines of JSON; neither the tool is asked nor the
    queue told: they will all be delivered by `run`.
    """
    import json
    import os

    from feature_repo.config import load_config
    from feature_repo.settings import load_settings
    from serving.routing.connectors.kinds import Means, open_connector
    from serving.routing.connectors.preview import preview
    from serving.routing.connectors.process import chosen_one, real_pace
    from serving.routing.connectors.settings import connector_settings

    settings = load_settings()
    found = connector_settings(load_config(settings), os.environ)
    one = chosen_one(found, name)
    pace = real_pace()
    connector = open_connector(one, Means(pace=pace, home=settings.home.absolute()))
    try:
        shown = preview(settings, one, connector, limit=limit, wait_s=wait_s, clock=pace.clock)
    finally:
        connector.close()
    for line in shown:
        typer.echo(json.dumps(line))
    typer.echo(f"{len(shown)} messages; nothing was sent.", err=True)
