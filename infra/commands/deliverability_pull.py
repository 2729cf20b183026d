"""`foresend deliverability pull`: ask the sources that can be asked."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    source: Annotated[
        list[str] | None,
        typer.Option(help="postmaster or snds; default: all that have credentials."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one last line of JSON.")
    ] = False,
) -> None:
    """Take in what the sources say of the last days; exit 1 when one of them did not answer.

    The same days are asked for again each time: numbers come late and are corrected. What is
    known already is not stored twice.
    """
    from feature_repo.deliverability.pull import SOURCES, configured, pull, real_pace
    from feature_repo.errors import ConfigError
    from feature_repo.settings import load_settings
    from infra.deliverability_view import print_pulled
    from infra.import_view import progress_bar

    settings = load_settings()
    for name in source or ():
        if name not in SOURCES:
            message = f"--source {name!r} cannot be asked; use {' or '.join(SOURCES)}."
            raise ConfigError(message)
    chosen = list(dict.fromkeys(source)) if source else configured()
    if not chosen:
        message = (
            "No source has credentials. Set FORESEND_POSTMASTER_SERVICE_ACCOUNT or "
            "FORESEND_SNDS_KEY (docs/deliverability.md)."
        )
        raise ConfigError(message)
    with progress_bar() as progress:
        done = pull(settings, chosen, pace=real_pace(), progress=progress)
    print_pulled(done, as_json=as_json)
    if any(one.outcome != "done" for one in done):
        raise typer.Exit(1)
