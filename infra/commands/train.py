"""`foresend train TARGET`: a model of a target, judged and registered."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def command(
    target: Annotated[
        str | None, typer.Argument(help="A target of foresend.yaml.", show_default=False)
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            help="Train on what was known then (ISO 8601); default: the newest row of the log."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal input and seed, equal model.")] = 0,
    search_minutes: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Minutes to search better settings; default: as foresend.yaml says, else 0.",
        ),
    ] = None,
    reproduce: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_ID",
            help="Make the dataset and metrics of this training again, and register nothing.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one last line of JSON.")
    ] = False,
) -> None:
    """Train a model of TARGET, judge it on the last period and register it in MLflow.

    The first version that passes its gates becomes champion, later ones challenger; with
    `promotion: auto` in foresend.yaml champion too. Ends with 1 when the training rows leak.
    """
    if reproduce is not None:
        # Here, not above: MLflow and Feast take seconds to load and `--help` needs neither.
        from feature_repo.settings import load_settings
        from infra.reproduce_view import run_reproduction

        raise typer.Exit(run_reproduction(load_settings(), reproduce, as_json=as_json))
    if target is None:
        message = "give a target, or --reproduce RUN_ID"
        raise typer.BadParameter(message, param_hint="TARGET")
    summary = _train(target, as_of, seed, search_minutes)
    if as_json:
        import json

        typer.echo(json.dumps(summary))


def _train(
    target: str, as_of: str | None, seed: int, search_minutes: float | None
) -> dict[str, Any]:
    from feature_repo.config import load_config
    from feature_repo.settings import load_settings
    from infra.moment import parse_moment

    settings = load_settings()
    declared = load_config(settings).target(target)
    at = None if as_of is None else parse_moment("--as-of", as_of)

    from infra.train_view import print_summary, progress_line
    from training.run import train

    with progress_line() as progress:
        summary = train(
            settings,
            declared,
            as_of=at,
            seed=seed,
            search_minutes=search_minutes,
            progress=progress,
        )
    print_summary(summary)
    return summary
