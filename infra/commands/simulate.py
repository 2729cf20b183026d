"""`foresend simulate`: an e-mail programme with known truth, as files or as a live stream."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# One option per line, so that the command below reads as a table of names and defaults.
_Out = Annotated[Path | None, typer.Option(help="Write files to this folder.")]
_To = Annotated[str | None, typer.Option(help="Stream to the ingest service at this URL.")]
_Form = Annotated[
    str, typer.Option(help="Files: canonical (for `foresend import`), jsonl or payloads.")
]
_Customers = Annotated[int, typer.Option(help="Customers.")]
_Days = Annotated[int, typer.Option(help="Days that are simulated.")]
_Start = Annotated[str | None, typer.Option(help="Day 0 (2026-01-01). Default: DAYS before --end.")]
_End = Annotated[
    str | None, typer.Option(help="Nothing arrives after this time, or now (the default).")
]
_Since = Annotated[
    str | None, typer.Option(help="Leave out what arrives up to this time, e.g. an earlier --end.")
]
_Seed = Annotated[int, typer.Option(help="Another seed is another world.")]
_Sends = Annotated[float, typer.Option(help="Messages per customer and week.")]
_Service = Annotated[
    list[str] | None, typer.Option(help="Sending service; several take turns by campaign.")
]
_Rate = Annotated[
    float, typer.Option(min=0.0, help="Events per second of --to; 0: as answers come.")
]
_Connections = Annotated[int, typer.Option(min=1, max=256, help="Connections of --to.")]
_Batch = Annotated[
    int | None, typer.Option(min=1, help="Events of a request, where a service sends several.")
]
_Limit = Annotated[int | None, typer.Option(min=1, help="Stop --to after so many events.")]
_Truth = Annotated[Path | None, typer.Option(help="File for the truth of --to.")]
_Secrets = Annotated[
    Path | None, typer.Option(help="YAML of secrets by service, to sign requests with.")
]
_LateMedian = Annotated[float, typer.Option(help="Median seconds from event to arrival.")]
_LateShare = Annotated[float, typer.Option(help="Share that arrives hours to days late.")]
_LateDays = Annotated[float, typer.Option(help="Days of the latest of those.")]
_Duplicates = Annotated[float, typer.Option(help="Share that arrives twice.")]
_Machines = Annotated[
    bool, typer.Option("--machines/--no-machines", help="Apple MPP, proxies, scanners.")
]
_CorrectedDay = Annotated[
    list[int] | None, typer.Option(help="Day that was wrong and put right; repeatable.")
]
_Placement = Annotated[
    str, typer.Option(help="usual, or perfect: all mail reaches the inbox but in a collapse.")
]
_Collapse = Annotated[
    list[str] | None, typer.Option(help="PROVIDER[@DOMAIN]:FIRST_DAY:DAYS[:INBOX_SHARE].")
]
_FormatChange = Annotated[
    list[str] | None, typer.Option(help="SERVICE:DAY:rename|retype|drop|add:PATH[=VALUE].")
]
_Json = Annotated[bool, typer.Option("--json", help="Print the result as one last line of JSON.")]


def command(
    out: _Out = None,
    to: _To = None,
    form: _Form = "canonical",
    customers: _Customers = 1000,
    days: _Days = 90,
    start: _Start = None,
    end: _End = None,
    since: _Since = None,
    seed: _Seed = 1,
    sends_per_week: _Sends = 2.0,
    service: _Service = None,
    rate: _Rate = 0.0,
    connections: _Connections = 4,
    batch: _Batch = None,
    limit: _Limit = None,
    truth: _Truth = None,
    secrets: _Secrets = None,
    late_median: _LateMedian = 120.0,
    late_share: _LateShare = 0.01,
    late_days: _LateDays = 5.0,
    duplicates: _Duplicates = 0.005,
    machines: _Machines = True,
    corrected_day: _CorrectedDay = None,
    placement: _Placement = "usual",
    collapse: _Collapse = None,
    format_change: _FormatChange = None,
    as_json: _Json = False,
) -> None:
    """Simulate an e-mail programme; the same options give the same events."""
    from datetime import UTC, datetime

    from infra.simulator.run import options_from, print_result, run

    now = datetime.now(UTC)
    world = (start, days, end, since, now), (customers, seed, sends_per_week, service or [])
    arrival = late_median, late_share, late_days, duplicates
    faults = machines, corrected_day or [], placement, collapse or [], format_change or []
    options = options_from(*world, arrival, faults)
    result = run(options, out, to, form, (rate, connections, batch, limit, truth), secrets)
    print_result(result, as_json=as_json)
