"""`foresend tiers approve TARGET --by NAME`: from now on these tiers are answered."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A target that has models.", show_default=False)],
    by: Annotated[str, typer.Option(help="Name of the owner who decides.", show_default=False)],
    version: Annotated[
        str | None,
        typer.Option(help="Number of its version; default: the challenger, else the champion."),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(help='Other names, the lowest tier first: "low,medium,high".'),
    ] = None,
    cuts: Annotated[
        str | None, typer.Option(help='Other cuts, rising, in score: "0.03,0.1".')
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the policy as one last line of JSON.")
    ] = False,
) -> None:
    """Approve the tiers proposed for a version of TARGET; serving uses them within seconds.

    If the version is not champion yet, they are used from its promotion on.
    """
    import json
    from datetime import UTC, datetime

    from feature_repo.settings import load_settings
    from infra.tiers_view import parse_cuts, parse_names, print_approved
    from serving.tiers import to_json

    own_names = None if names is None else parse_names(names)
    own_cuts = None if cuts is None else parse_cuts(cuts)

    from training.registry import CHAMPION, open_registry
    from training.tiers.registry import approve

    registry = open_registry(load_settings())
    policy = approve(
        registry, target, version, by=by, at=datetime.now(UTC), names=own_names, cuts=own_cuts
    )
    print_approved(policy, registry.aliases(target).get(CHAMPION))
    if as_json:
        typer.echo(json.dumps(to_json(policy)))
