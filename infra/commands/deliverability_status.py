"""`foresend deliverability status`: how fresh each source of readings is."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the newest day of each source, and how its last pull went.

    Exit 1 when a source that is asked is stale, failing, told to wait, or never gave a number.
    """
    from datetime import UTC, datetime

    from feature_repo.deliverability.pull import configured
    from feature_repo.deliverability.status import status
    from feature_repo.settings import load_settings
    from infra.deliverability_view import print_status

    sources = status(load_settings(), configured(), datetime.now(UTC))
    print_status(sources, as_json=as_json)
    if any(one.is_bad for one in sources):
        raise typer.Exit(1)
