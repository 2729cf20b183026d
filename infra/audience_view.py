"""How scoring a segment looks on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from serving.audience.jobs import Job


@contextmanager
def progress_bar() -> Iterator[Callable[[Job], None]]:
    """A listener that draws how far a job is, on stderr."""
    console = Console(stderr=True)
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("scoring")

        def told(job: Job) -> None:
            bar.update(task, completed=job.scored, total=job.customers)

        yield told


def print_job(job: Job, out: Path) -> None:
    """What a job came to."""
    table = Table(title=f"Scores of {job.target}", show_header=False, title_justify="left")
    table.add_row("customers", f"{job.scored:,}")
    table.add_row("model version", job.model_version)
    for tier, count in sorted(job.tiers.items()):
        table.add_row(f"tier {tier}", f"{count:,}")
    for cause, count in sorted(job.degraded.items()):
        table.add_row(cause, f"{count:,}")
    if job.unusable:
        table.add_row("unusable ids", f"{job.unusable:,}")
    table.add_row("file", str(out))
    Console().print(table)
