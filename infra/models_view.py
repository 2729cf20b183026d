"""How registered versions look on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_NUMBERS = ("auc", "baseline_auc", "log_loss", "calibration_slope")


def print_versions(versions: Sequence[Mapping[str, Any]]) -> None:
    """Print one row per version, or what to do when there is none."""
    if not versions:
        Console().print("No model is registered. Train one with `foresend train TARGET`.")
        return
    table = Table("target", "version", "aliases", "gate", "week", "rows", *_NUMBERS)
    for version in versions:
        numbers = ["" if version[key] is None else f"{version[key]:.4f}" for key in _NUMBERS]
        rows = "" if version["rows"] is None else f"{version['rows']:,.0f}"
        names = ", ".join(version["aliases"])
        words = [str(version[key] or "") for key in ("target", "version")]
        table.add_row(*words, names, version["gate"], version["week"], rows, *numbers)
    Console().print(table)
