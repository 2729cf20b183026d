"""How placement looks on the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Final

import typer
from rich.console import Console
from rich.table import Table

from feature_repo.deliverability.observed import HIGH_SPAM_RATE
from feature_repo.deliverability.standing import Standing


def print_standings(found: Sequence[Standing], *, as_json: bool) -> None:
    """Print a line per cell; with `as_json` one object instead."""
    if as_json:
        typer.echo(json.dumps({"cells": [asdict(one) for one in found]}, default=str))
        return
    table = Table(title="Placement", title_justify="left")
    for name in ("sending domain", "mailbox", "inbox", "impaired since"):
        table.add_column(name)
    for name in ("seeds", "canaries", "seen", "warnings", "days without news"):
        table.add_column(name, overflow="fold")
    for one in found:
        table.add_row(
            one.sending_domain,
            one.mailbox_provider,
            f"{one.p_inbox:.0%}\n{one.low:.0%}-{one.high:.0%}",
            str(one.impaired_since or "-"),
            *_evidence(one.evidence),
            _staleness(one),
            style="bold red" if one.impaired_since else None,
        )
    Console().print(table)
    typer.echo(_LEGEND)


def _evidence(value: Mapping[str, float | None]) -> Iterator[str]:
    seeds, inbox = value["seed_n_7d"], value["seed_inbox_rate_7d"]
    yield "-" if not seeds or inbox is None else f"{inbox:.0%} of {seeds:.0f}"
    for name in ("canary_index_7d", "seen_index_7d"):
        yield "-" if (index := value[name]) is None else f"{index:.0%}"
    yield "\n".join(_warnings(value)) or "-"


def _warnings(value: Mapping[str, float | None]) -> Iterator[str]:
    """What mailbox providers say is bad; that they say nothing bad says nothing."""
    for name, least, text in _WARNINGS:
        number = value[name]
        if number is not None and number >= least:
            yield text.format(number)


def _staleness(one: Standing) -> str:
    known = [f"{source} {age:.0f}" for source, age in one.staleness.items() if age is not None]
    return ", ".join(known) or "-"


_WARNINGS: Final = (
    ("gpt_spam_rate_7d", HIGH_SPAM_RATE, "Google spam rate {:.2%}"),
    ("snds_filter_result_7d", 1.0, "SNDS {:.1f} of 2"),
    ("block_rate_7d", 0.01, "blocked {:.1%}"),
)
_LEGEND: Final = (
    "inbox: estimated share, and its central 90 %, of the newest day. Others: the last 7 days; "
    "canaries (Apple's fetches) and seen as shares of the 28 days before."
)
