"""How a training looks on the terminal: progress on stderr, the summary on stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

_SHOWN = (
    ("auc", "AUC"),
    ("average_precision", "average precision"),
    ("log_loss", "log-loss"),
    ("brier", "Brier"),
    ("calibration_slope", "calibration slope"),
    ("calibration_ratio", "mean score / rate"),
    ("calibration_error", "calibration error"),
    ("top_decile_lift", "top-decile lift"),
)


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """A listener that shows the current step on stderr; without a terminal, one line per step."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: console.print(step, highlight=False)
        return
    with console.status("training") as status:
        yield lambda step: status.update(step)


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print what was trained, beside the baseline."""
    named = ", ".join(summary["aliases"]) or "no alias"
    table = Table(
        title=f"{summary['target']} version {summary['version']} ({named}): {summary['chosen']}",
        title_justify="left",
        caption=(
            f"{summary['rows']:,} mature decisions, {summary['positives']:,} positive; "
            f"{summary['test_rows']:,} in the test period; "
            f"{summary['excluded_immature']:,} too young to judge"
        ),
        caption_justify="left",
    )
    table.add_column("on the test period", style="bold")
    table.add_column("model", justify="right")
    table.add_column("baseline", justify="right")
    for key, label in _SHOWN:
        table.add_row(label, f"{summary[key]:.4f}", f"{summary['baseline'][key]:.4f}")
    console = Console()
    console.print(table)
    console.print(summary["reason"], highlight=False, markup=False)
    word = {"failed": "Not passed", "inconclusive": "Cannot be told"}.get(summary["gate"], "")
    for failure in summary["gate_failures"]:
        console.print(f"{word}: {failure}.", highlight=False, markup=False)
    for ask in summary["gate_asks"]:
        console.print(f"A person should look: {ask}.", highlight=False, markup=False)
