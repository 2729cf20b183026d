"""Runs the simulator for a person: progress on stderr, the result on stdout."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from feature_repo.errors import ConfigError
from infra.simulator.history import described, write_history
from infra.simulator.options import (
    Options,
    collapse_from,
    format_change_from,
    instant,
    span,
)
from infra.simulator.payload_files import write_payloads
from infra.simulator.payloads.registry import ENCODERS
from infra.simulator.stream import Streamed, stream

FORMS: Final = ("canonical", "jsonl", "payloads")

Result = dict[str, Any]


def options_from(
    time_: tuple[str | None, int, str | None, str | None, datetime],
    size: tuple[int, int, float, Sequence[str]],
    arrival: tuple[float, float, float, float],
    faults: tuple[bool, Sequence[int], str, Sequence[str], Sequence[str]],
) -> Options:
    """Options from the words of the command, in its order.

    Raises:
        ConfigError: a word cannot be used.
    """
    start, days, end, since, now = time_
    first, count, until = span(start, days, end, now)
    customers, seed, sends_per_week, services = size
    late_median, late_share, late_days, duplicates = arrival
    machines, corrected_days, placement, collapses, format_changes = faults
    return Options(
        customers=customers,
        days=count,
        start=first,
        until=until,
        since=None if since is None else instant("--since", since),
        seed=seed,
        sends_per_week=sends_per_week,
        services=tuple(services) or ("sendgrid",),
        late_median_s=late_median,
        late_share=late_share,
        late_days=late_days,
        duplicates=duplicates,
        machines=machines,
        corrected_days=tuple(corrected_days),
        placement=placement,
        collapses=tuple(collapse_from(text) for text in collapses),
        format_changes=tuple(format_change_from(text) for text in format_changes),
    )


def run(
    options: Options,
    out: Path | None,
    to: str | None,
    form: str,
    how: tuple[float, int, int | None, int | None, Path | None],
    secrets: Path | None,
) -> Result:
    """Write files to `out` or stream to `to`, whichever is given.

    Raises:
        ConfigError: not exactly one of them is, or something cannot be used.
        StoreUnavailable: the service does not answer.
        DeliveryRefused: the service refused a request for good.
    """
    held = read_secrets(secrets)
    rate, connections, batch, limit, truth = how
    if out is not None and to is None:
        return run_files(options, out, form, batch=batch, secrets=held)
    if to is not None and out is None:
        return run_stream(
            options,
            to,
            rate=rate,
            connections=connections,
            batch=batch,
            limit=limit,
            truth=truth,
            secrets=held,
        )
    message = "Say where to: --out FOLDER for files, or --to URL for a live stream."
    raise ConfigError(message)


def run_files(
    options: Options, folder: Path, form: str, *, batch: int | None, secrets: Mapping[str, str]
) -> Result:
    """Write files of the form.

    Raises:
        ConfigError: an option cannot be used.
    """
    if form not in FORMS:
        message = f"--form has value {form!r}; use one of {', '.join(FORMS)}."
        raise ConfigError(message)
    started = time.monotonic()
    with _bar() as bar:
        task = bar.add_task("simulate", total=1.0)
        if form == "payloads":
            by_service = write_payloads(options, folder, batch=batch, secrets=secrets)
            result: Result = {"folder": str(folder), "by_service": by_service}
        else:
            written = write_history(
                options,
                folder,
                lambda _, share: bar.update(task, completed=share),
                file_format="jsonl" if form == "jsonl" else "parquet",
            )
            result = {
                "files": [str(path) for path in written.events],
                "truth": str(written.truth),
                "rows": written.rows,
                "first_received": _iso(written.first_received),
                "last_received": _iso(written.last_received),
            }
    seconds = round(time.monotonic() - started, 3)
    return result | {"options": described(options), "seconds": seconds}


def run_stream(options: Options, url: str, **how: Any) -> Result:
    """Stream to an ingest service; `how` as `stream` takes it.

    Raises:
        ConfigError: an option cannot be used.
        StoreUnavailable: the service does not answer.
        DeliveryRefused: the service refused a request for good.
    """
    if not re.fullmatch(r"https?://[^/\s]+.*", url):
        message = f"--to {url!r} is no address; give one such as http://127.0.0.1:8081."
        raise ConfigError(message)
    with _bar() as bar:
        task = bar.add_task("stream", total=how.get("limit"))

        def show(done: Streamed) -> None:
            text = f"stream {done.events:,} events, {done.retries:,} retries"
            bar.update(task, completed=done.events, description=text)

        streamed = stream(options, url, progress=show, **how)
    return asdict(streamed) | {"options": described(options)}


def print_result(result: Result, *, as_json: bool) -> None:
    """Print a result for a person, and as the last line for a program."""
    table = Table(title="Simulated", title_justify="left", show_header=False)
    for name, value in result.items():
        if name != "options":
            table.add_row(name.replace("_", " "), _shown(value))
    Console().print(table)
    if as_json:
        print(json.dumps(result))


def read_secrets(path: Path | None) -> dict[str, str]:
    """Secrets by service out of a YAML file.

    Raises:
        ConfigError: the file cannot be read, or names a service that is not known.
    """
    if path is None:
        return {}
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        message = f"--secrets {path} cannot be read as YAML."
        raise ConfigError(message) from exc
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        message = f"--secrets {path} is no mapping of services to texts."
        raise ConfigError(message)
    for name in document:
        if name not in ENCODERS:
            message = f"--secrets {path} names {name!r}; services are {', '.join(ENCODERS)}."
            raise ConfigError(message)
    return document


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count:,}" for name, count in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _iso(at: Any) -> str | None:
    return None if at is None else str(at.isoformat())
