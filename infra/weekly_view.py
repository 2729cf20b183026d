"""How a weekly run looks on the terminal: progress on stderr, the summary on stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from training.weekly.run import Weekly
from training.weekly.state import Status

_COLOURS: Final = {
    Status.PASSED: "green",
    Status.GATE: "yellow",
    Status.NOT_READY: "yellow",
    Status.LEAK: "red",
    Status.ERROR: "red",
}


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """A listener that shows the current step on stderr; without a terminal, one line per step."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("the week") as status:
            yield lambda step: status.update(step)
        return
    # Shares of a step are for eyes on a terminal.
    yield lambda step: None if step.endswith("%") else console.print(step, highlight=False)


def print_week(week: Weekly) -> None:
    """Print each target's outcome and what to do next."""
    table = Table(title=f"Week {week.key}", title_justify="left")
    for head in ("target", "outcome", "version", "AUC", "baseline", "what to do"):
        table.add_column(head)
    for outcome, told in zip(week.outcomes, week.document["targets"], strict=True):
        colour = _COLOURS[outcome.status]
        auc = told["metrics"]["auc"]
        table.add_row(
            outcome.target,
            f"[{colour}]{outcome.status.value}[/]",
            outcome.version or "",
            _number(auc["model"]),
            _number(auc["baseline"]),
            "\n".join(told["next"]),
        )
    console = Console()
    console.print(table)
    for outcome in week.outcomes:
        for reason in outcome.reasons:
            console.print(f"{outcome.target}: {reason}", highlight=False, markup=False)
    console.print(f"Report: {week.page}", highlight=False, soft_wrap=True)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4f}"
