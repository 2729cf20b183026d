"""`foresend routing show`: what was told about a customer last."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    customer: Annotated[str, typer.Argument(help="The customer's id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the scores last told about a customer, the sends promised, and the hold-out."""
    from datetime import UTC, datetime

    from feature_repo import addresses, online
    from feature_repo.config import load_config
    from feature_repo.settings import load_settings
    from infra.routing_view import print_standing
    from serving.routing.settings import routing_settings
    from serving.routing.standing import standing

    settings = load_settings()
    routing = routing_settings(load_config(settings))
    with online.connect(addresses.redis_url(settings)) as client:
        found = standing(settings, routing, client, customer, datetime.now(UTC))
    print_standing(customer, found, as_json=as_json)
