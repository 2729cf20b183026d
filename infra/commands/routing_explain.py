"""`foresend routing explain`: which rule decides about a customer, and what the others lacked."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    customer: Annotated[str, typer.Argument(help="The customer's id.")],
    target: Annotated[
        str | None, typer.Option(help="Whose last told score is used; default: the first target.")
    ] = None,
    score: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Suppose this score instead.")
    ] = None,
    tier: Annotated[str | None, typer.Option(help="Suppose this tier instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Go through the rules of foresend.yaml for a customer as the router would now."""
    from datetime import UTC, datetime

    from feature_repo import addresses, online
    from feature_repo.config import load_config
    from feature_repo.settings import load_settings
    from infra.routing_view import print_explanation
    from serving.routing.settings import routing_settings
    from serving.routing.standing import Supposed, action_of, standing, steps

    settings = load_settings()
    config = load_config(settings)
    routing = routing_settings(config)
    name = config.target(target).name if target else next(iter(config.targets))
    now = datetime.now(UTC)
    with online.connect(addresses.redis_url(settings)) as client:
        found = standing(settings, routing, client, customer, now)
    told = found.memory.told.get(name)
    used = Supposed(
        target=name,
        score=score if score is not None else (told.score if told else float("nan")),
        tier=tier if tier is not None else (told.tier if told else None),
    )
    action = action_of(customer, found, routing, used, now)
    looked_at = [*steps(found, routing, used, now)]
    print_explanation(customer, used, action, looked_at, as_json=as_json)
