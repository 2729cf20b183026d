"""How registered versions look on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

_NUMBERS = {"auc": "AUC", "baseline_auc": "RFM"}
"""What fits beside the names in 80 columns; `--json` has more."""


def print_versions(versions: Sequence[Mapping[str, Any]]) -> None:
    """Print one row per version, or what to do when there is none."""
    if not versions:
        Console().print("No model is registered. Train one with `foresend train TARGET`.")
        return
    table = Table(
        Column("target", no_wrap=True),
        Column("no.", no_wrap=True),
        Column("aliases", no_wrap=True),
        Column("gate", no_wrap=True),
        Column("week", no_wrap=True),
        *(Column(name, justify="right", no_wrap=True) for name in _NUMBERS.values()),
        box=SIMPLE_HEAD,
    )
    for version in versions:
        numbers = ["" if version[key] is None else f"{version[key]:.3f}" for key in _NUMBERS]
        names = "\n".join(version["aliases"])
        words = [str(version[key] or "") for key in ("target", "version")]
        table.add_row(*words, names, version["gate"], version["week"], *numbers)
    Console().print(table)


def print_moves(target: str, moves: Sequence[Mapping[str, Any]]) -> None:
    """Print one row per change of the champion, newest first."""
    if not moves:
        Console().print(f"{target} never had a champion.", highlight=False)
        return
    table = Table(
        Column("at (UTC)", no_wrap=True),
        *("from", "to", "who", "how", "gate", "reason"),
        box=SIMPLE_HEAD,
    )
    for move in moves:
        table.add_row(
            f"{datetime.fromisoformat(move['at']):%Y-%m-%d %H:%M}",
            move["before"] or "none",
            move["after"] or "none",
            escape(move["who"]),
            move["action"].replace("_", " "),
            move["gate"] or "",
            escape(move["reason"]),
        )
    Console().print(table)
