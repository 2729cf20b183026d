"""`foresend train TARGET`: a model of a target, judged and registered."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A target of foresend.yaml.", show_default=False)],
    as_of: Annotated[
        str | None,
        typer.Option(
            help="Train on what was known then (ISO 8601); default: the newest row of the log."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal input and seed, equal model.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one last line of JSON.")
    ] = False,
) -> None:
    """Train a model of TARGET, judge it on the last period and register it in MLflow.

    The first version that passes becomes champion, later ones challenger.
    """
    # Here, not above: MLflow and Feast take seconds to load and `foresend --help` needs neither.
    import json

    from feature_repo.config import load_config
    from feature_repo.settings import load_settings
    from infra.moment import parse_moment

    settings = load_settings()
    declared = load_config(settings).target(target)
    at = None if as_of is None else parse_moment("--as-of", as_of)

    from infra.train_view import print_summary, progress_line
    from training.run import train

    with progress_line() as progress:
        summary = train(settings, declared, as_of=at, seed=seed, progress=progress)
    print_summary(summary)
    if as_json:
        typer.echo(json.dumps(summary))
