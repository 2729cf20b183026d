"""`foresend audience score FILE --target TARGET --out FILE`: a whole segment, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[
        Path, typer.Argument(help=".csv or .parquet with a column customer_id.", show_default=False)
    ],
    target: Annotated[str, typer.Option(help="What to score for.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Parquet file to write.", show_default=False)],
    send_at: Annotated[
        str | None, typer.Option(help="When the messages go out, ISO-8601 with an offset; now.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the job as JSON.")] = False,
) -> None:
    """Score every customer of FILE with the model and the tiers that are served here.

    One row per row of FILE, in its order. OUT appears when all of it is there.
    """
    import msgspec

    from feature_repo.config import load_config
    from feature_repo.errors import ForesendError
    from feature_repo.settings import load_settings
    from infra.audience_view import print_job, progress_bar
    from serving.audience.foreground import score_file
    from serving.settings import load_serving_settings

    settings = load_settings()
    load_config(settings).target(target)
    with progress_bar() as told:
        job = score_file(
            settings, load_serving_settings(), file, out, target=target, send_at=send_at, told=told
        )
    if job.problem is not None:
        raise ForesendError(job.problem)
    print_job(job, out)
    if as_json:
        typer.echo(msgspec.json.encode(job).decode())
