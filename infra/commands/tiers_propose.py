"""`foresend tiers propose TARGET`: cuts for a version's scores, for an owner to judge."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A target of foresend.yaml.", show_default=False)],
    version: Annotated[
        str | None,
        typer.Option(help="Number of its version; default: the challenger, else the champion."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seed, equal proposal.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the proposal as one last line of JSON.")
    ] = False,
) -> None:
    """Propose tiers for TARGET again, after a change of `tiers` in foresend.yaml for example.

    Training proposes by itself. What is approved stays in force until the proposal is.
    """
    import json

    from feature_repo.config import load_config
    from feature_repo.settings import load_settings
    from training.tiers.rules import tier_rules

    settings = load_settings()
    config = load_config(settings)
    config.target(target)
    rules = tier_rules(config, target)

    from infra.tiers_view import print_proposal
    from training.registry import open_registry
    from training.tiers.registry import propose_version

    proposal = propose_version(open_registry(settings), target, version, rules, seed=seed)
    print_proposal(proposal)
    typer.echo(
        f'Approve: foresend tiers approve {target} --version {proposal.model_version} --by "NAME"'
    )
    if as_json:
        typer.echo(json.dumps(proposal.as_dict()))
