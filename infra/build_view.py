"""How a feature build looks on the terminal: progress on stderr, the summary on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from feature_repo.history.build import BuildResult
from feature_repo.history.build import Progress as Listener


@contextmanager
def progress_bar() -> Iterator[Listener]:
    """A listener that draws one bar per step on stderr; without a terminal, it names the steps."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def listen(step: str, share: float) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=1.0)
                if not console.is_terminal:
                    console.print(step)
            bar.update(tasks[step], completed=share)

        yield listen


def print_summary(result: BuildResult, seconds: float) -> None:
    """Print what the build left as a table."""
    table = Table(title="Feature tables", title_justify="left")
    table.add_column("view", style="bold")
    table.add_column("rows", justify="right")
    table.add_column("content digest")
    table.add_column("version", justify="right")
    for view, built in result.tables.items():
        table.add_row(view, f"{built.rows:,}", built.digest, str(built.version))
    console = Console()
    console.print(table)
    console.print(
        f"Looked at {result.customers_touched:,} customers in {seconds:.1f} s; the tables hold the "
        f"log up to row {result.watermark:,} and windows through {result.through}.",
        highlight=False,
    )
