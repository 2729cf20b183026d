"""How a backfill looks on the terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from feature_repo.history.backfill import Backfilled
from feature_repo.history.backfill_compare import PERSONAL


def print_backfill(done: Backfilled, *, dry_run: bool) -> None:
    """Print what a backfill did or would do."""
    title = "Backfill: nothing was changed yet" if dry_run else "Backfill"
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _lines(done):
        table.add_row(name, value)
    console = Console()
    console.print(table)
    if done.comparison.fields:
        console.print(_fields(done))


def _lines(done: Backfilled) -> Iterator[tuple[str, str]]:
    found = done.comparison
    yield "new events", f"{found.new:,}"
    yield "corrections", f"{found.corrected:,}"
    yield "withdrawals", f"{found.retracted:,}"
    yield "unchanged", f"{found.unchanged:,}"
    yield "left withdrawn", f"{found.withdrawn:,}"
    yield "left as others corrected them", f"{found.overruled:,}"
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in sorted(done.rejected.items()))
    yield "not usable", rejected or "0"
    yield "customers concerned", f"{found.customers:,}"
    if found.first_event is not None and found.last_event is not None:
        yield "events from", f"{found.first_event:%Y-%m-%d %H:%M} UTC"
        yield "events to", f"{found.last_event:%Y-%m-%d %H:%M} UTC"
    yield "rows appended", f"{done.appended:,}"
    if done.built is not None:
        yield "customers built anew", f"{done.built.customers_touched:,}"


def _fields(done: Backfilled) -> Table:
    table = Table(title="Corrected fields", title_justify="left")
    table.add_column("field", style="bold")
    table.add_column("events", justify="right")
    table.add_column("for example", overflow="fold")
    for name, count in sorted(done.comparison.fields.items(), key=lambda pair: -pair[1]):
        pairs = done.comparison.examples.get(name, [])
        shown = "(personal)" if name in PERSONAL else "\n".join(f"{a} -> {b}" for a, b in pairs)
        table.add_row(name, f"{count:,}", shown)
    return table


def as_content(done: Backfilled, *, dry_run: bool) -> dict[str, Any]:
    """The result for `--json`."""
    return {
        "dry_run": dry_run,
        **asdict(done.comparison),
        "rejected": done.rejected,
        "appended": done.appended,
        "version": done.version,
        "customers_built": None if done.built is None else done.built.customers_touched,
    }
