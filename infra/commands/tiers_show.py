"""`foresend tiers show TARGET`: what is in force, and what is proposed."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A target that has models.", show_default=False)],
    version: Annotated[
        str | None,
        typer.Option(help="Number of its version; default: the challenger, else the champion."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all of it as one last line of JSON.")
    ] = False,
) -> None:
    """Show the tiers in force for TARGET, and those proposed or decided for a version."""
    import json

    from feature_repo.settings import load_settings
    from infra.tiers_view import print_in_force, print_proposal, print_standing
    from serving.tiers import to_json
    from training.registry import open_registry
    from training.tiers.registry import stored_proposal
    from training.tiers.standing import policy_in_force, standing_of

    registry = open_registry(load_settings())
    standing = standing_of(registry, target, version)
    policy, champion = policy_in_force(registry, target)
    proposal = stored_proposal(registry, standing)
    print_in_force(target, policy, champion)
    if proposal is not None:
        print_proposal(proposal)
    print_standing(standing)
    if as_json:
        document = {
            "target": target,
            "version": standing.number,
            "status": standing.status,
            "in_force": None if policy is None else to_json(policy),
            "champion": champion,
            "open": standing.open,
            "proposal": None if proposal is None else proposal.as_dict(),
            "history": standing.history,
        }
        typer.echo(json.dumps(document))
