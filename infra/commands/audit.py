"""`foresend audit TARGET`: does anything in the training rows know more than was known then?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A target of foresend.yaml.", show_default=False)],
    as_of: Annotated[
        str | None,
        typer.Option(
            help="Audit what was known then (ISO 8601); default: the newest row of the log."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal input and seed, equal report.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the report as one HTML page to this file.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one line of JSON alone.")
    ] = False,
) -> None:
    """Look for leaks in the rows that TARGET would be trained on; nothing is trained or changed.

    Exit code 0: no critical finding; 1: critical findings, which stop registration; 2: the rows
    cannot be made.
    """
    # Here, not above: Feast takes seconds to load and `foresend --help` does not need it.
    import json

    from feature_repo.config import load_config
    from feature_repo.settings import load_settings
    from infra.moment import parse_moment

    settings = load_settings()
    declared = load_config(settings).target(target)
    at = None if as_of is None else parse_moment("--as-of", as_of)

    from infra.audit_view import print_report
    from infra.train_view import progress_line
    from training.audit.run import audit_as_of

    with progress_line() as progress:
        report = audit_as_of(settings, declared, at, seed=seed, progress=progress)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(report.to_html(), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        print_report(report, out)
    if report.is_critical:
        raise typer.Exit(1)
