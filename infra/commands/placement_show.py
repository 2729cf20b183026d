"""`foresend placement show`: where the mail of each sending domain lands, and how sure that is."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    impaired_only: Annotated[
        bool, typer.Option("--impaired", help="Only cells that are impaired now.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the estimated inbox rate by sending domain and mailbox provider, and its evidence.

    As of the newest midnight of the last `foresend features build`.
    """
    from feature_repo.deliverability.standing import standings
    from feature_repo.settings import load_settings
    from infra.placement_view import print_standings

    found = standings(load_settings())
    if impaired_only:
        found = [one for one in found if one.impaired_since is not None]
    print_standings(found, as_json=as_json)
