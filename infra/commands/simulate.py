"""`foresend simulate`: an e-mail programme with known truth, as files or as a live stream."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path | None, typer.Option(help="Write files to this folder.")] = None,
    to: Annotated[
        str | None, typer.Option(help="Stream to the ingest service at this URL.")
    ] = None,
    form: Annotated[
        str, typer.Option(help="Files: canonical (for `foresend import`), jsonl or payloads.")
    ] = "canonical",
    customers: Annotated[int, typer.Option(help="Customers.")] = 1000,
    days: Annotated[int, typer.Option(help="Days that are simulated.")] = 90,
    start: Annotated[
        str | None, typer.Option(help="Day 0 (2026-01-01). Default: DAYS before --end.")
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="Nothing arrives after this time, or now (the default).")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Nothing that arrives up to this time, e.g. --end before.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another world.")] = 1,
    sends_per_week: Annotated[float, typer.Option(help="Messages per customer and week.")] = 2.0,
    service: Annotated[
        list[str] | None, typer.Option(help="Sending service; several take turns by campaign.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0.0, help="Events per second of --to; 0: as answers come.")
    ] = 0.0,
    connections: Annotated[int, typer.Option(min=1, max=256, help="Connections of --to.")] = 4,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Events of a request, where a service sends several.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop --to after so many.")] = None,
    truth: Annotated[Path | None, typer.Option(help="File for the truth of --to.")] = None,
    secrets: Annotated[
        Path | None, typer.Option(help="YAML of secrets by service, to sign requests with.")
    ] = None,
    late_median: Annotated[float, typer.Option(help="Median seconds from event to arrival.")] = 120,
    late_share: Annotated[
        float, typer.Option(help="Share that arrives hours to days late.")
    ] = 0.01,
    late_days: Annotated[float, typer.Option(help="Days of the latest of those.")] = 5.0,
    duplicates: Annotated[float, typer.Option(help="Share that arrives twice.")] = 0.005,
    machines: Annotated[
        bool, typer.Option("--machines/--no-machines", help="Apple MPP, proxies, scanners.")
    ] = True,
    corrected_day: Annotated[
        list[int] | None, typer.Option(help="Day that was wrong and put right; repeatable.")
    ] = None,
    collapse: Annotated[
        list[str] | None, typer.Option(help="PROVIDER[@DOMAIN]:FIRST_DAY:DAYS[:INBOX_SHARE].")
    ] = None,
    format_change: Annotated[
        list[str] | None, typer.Option(help="SERVICE:DAY:rename|retype|drop|add:PATH[=VALUE].")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one last line of JSON.")
    ] = False,
) -> None:
    """Simulate an e-mail programme; the same options give the same events."""
    from datetime import UTC, datetime

    from feature_repo.errors import ConfigError
    from infra.simulator.options import Options, collapse_from, format_change_from, span
    from infra.simulator.run import print_result, read_secrets, run_files, run_stream

    if (out is None) == (to is None):
        message = "Say where to: --out FOLDER for files, or --to URL for a live stream."
        raise ConfigError(message)
    first, count, until = span(start, days, end, datetime.now(UTC))
    options = Options(
        customers=customers,
        days=count,
        start=first,
        until=until,
        since=None if since is None else span(None, 1, since, datetime.now(UTC))[2],
        seed=seed,
        sends_per_week=sends_per_week,
        services=tuple(service or ("sendgrid",)),
        late_median_s=late_median,
        late_share=late_share,
        late_days=late_days,
        duplicates=duplicates,
        machines=machines,
        corrected_days=tuple(corrected_day or ()),
        collapses=tuple(collapse_from(text) for text in collapse or ()),
        format_changes=tuple(format_change_from(text) for text in format_change or ()),
    )
    held = read_secrets(secrets)
    if out is not None:
        result = run_files(options, out, form, batch=batch, secrets=held)
    else:
        result = run_stream(
            options,
            to or "",
            rate=rate,
            connections=connections,
            batch=batch,
            limit=limit,
            secrets=held,
            truth=truth,
        )
    print_result(result, as_json=as_json)
