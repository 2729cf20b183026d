"""`foresend tiers reject TARGET --by NAME --reason TEXT`: these tiers are not to be used."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A target that has models.", show_default=False)],
    by: Annotated[str, typer.Option(help="Name of the owner who decides.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why; it is kept.", show_default=False)],
    version: Annotated[
        str | None,
        typer.Option(help="Number of its version; default: the challenger, else the champion."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what is in force as one last line of JSON.")
    ] = False,
) -> None:
    """Reject the tiers proposed for a version of TARGET, or withdraw its approved ones.

    Serving goes on with the last approved tiers.
    """
    import json
    from datetime import UTC, datetime

    from feature_repo.settings import load_settings
    from infra.tiers_view import print_in_force, print_standing
    from serving.tiers import to_json
    from training.registry import open_registry
    from training.tiers.registry import reject
    from training.tiers.standing import policy_in_force

    registry = open_registry(load_settings())
    standing = reject(registry, target, version, by=by, reason=reason, at=datetime.now(UTC))
    policy, champion = policy_in_force(registry, target)
    print_standing(standing)
    print_in_force(target, policy, champion)
    if as_json:
        document = {
            "target": target,
            "version": standing.number,
            "status": standing.status,
            "in_force": None if policy is None else to_json(policy),
        }
        typer.echo(json.dumps(document))
