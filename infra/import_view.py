"""How an import looks on the terminal: progress on stderr, the summary on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from feature_repo.ingest.files import Progress as Listener
from feature_repo.ingest.outcome import ImportSummary


@contextmanager
def progress_bar() -> Iterator[Listener]:
    """A listener that draws one bar per step on stderr; without a terminal, it names the steps."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def listen(step: str, done: int, total: int | None) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
                if not console.is_terminal:
                    console.print(step)
            bar.update(tasks[step], completed=done)

        yield listen


def print_summary(summary: ImportSummary) -> None:
    """Print what the import did as a table."""
    table = Table(title="Import", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _lines(summary):
        table.add_row(name, value)
    Console().print(table)


def _lines(summary: ImportSummary) -> Iterator[tuple[str, str]]:
    yield "files", "\n".join(summary.files)
    if summary.copies:
        yield "left out", "\n".join(f"{name} (a copy of another file)" for name in summary.copies)
    yield "rows read", f"{summary.rows:,}"
    yield "events appended", f"{summary.events:,}"
    yield "already known", f"{summary.known:,}"
    yield "quarantined rows", _counts(summary.quarantined)
    yield "skipped rows", _counts(summary.skipped)
    yield "kinds of events", _counts(summary.types)
    yield "customers", f"{summary.customers:,}"
    if summary.first_event is not None and summary.last_event is not None:
        yield "events from", f"{summary.first_event:%Y-%m-%d %H:%M} UTC"
        yield "events to", f"{summary.last_event:%Y-%m-%d %H:%M} UTC"
    if summary.ignored:
        yield "columns not used", ", ".join(summary.ignored)
    yield "version of the log", "none" if summary.version is None else str(summary.version)
    if summary.quarantine is not None:
        yield "quarantine file", str(summary.quarantine)


def _counts(counts: dict[str, int]) -> str:
    if not counts:
        return "0"
    if len(counts) == 1:
        return ", ".join(f"{count:,} ({name})" for name, count in counts.items())
    parts = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return f"{sum(counts.values()):,} ({parts})"


def print_json(summary: ImportSummary) -> None:
    """Print the summary as one line of JSON; `quarantined` and `skipped` are numbers of rows."""
    content = {
        "files": list(summary.files),
        "rows": summary.rows,
        "events": summary.events,
        "known": summary.known,
        "quarantined": sum(summary.quarantined.values()),
        "quarantined_by_reason": summary.quarantined,
        "skipped": sum(summary.skipped.values()),
        "skipped_by_reason": summary.skipped,
        "types": summary.types,
        "customers": summary.customers,
        "first_event": summary.first_event,
        "last_event": summary.last_event,
        "version": summary.version,
        "quarantine": None if summary.quarantine is None else str(summary.quarantine),
        "ignored_columns": list(summary.ignored),
        "copies": list(summary.copies),
    }
    print(orjson.dumps(content).decode())
