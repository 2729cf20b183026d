"""How routing looks on the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from serving.routing.message import Action
from serving.routing.standing import Standing, Step, Supposed


def print_standing(customer: str, found: Standing, *, as_json: bool) -> None:
    """Print what was told of a customer; with `as_json` one object instead."""
    sends = [_iso(at) for at in found.memory.sends]
    told = {name: msgspec.structs.asdict(one) for name, one in found.memory.told.items()}
    if as_json:
        shown = {
            "customer_id": customer,
            "is_known": found.facts is not None,
            "holdout": found.holdout,
            "told": told,
            "sends": sends,
            "seq": found.memory.seq,
        }
        typer.echo(json.dumps(shown))
        return
    if found.facts is None:
        typer.echo(f"The online store holds nothing about {customer}.")
    if not told:
        typer.echo(f"No score of {customer} was told yet.")
    else:
        table = Table("target", "score told last", "tier")
        for name, one in told.items():
            table.add_row(name, f"{one['score']:.4f}", one["tier"] or "-")
        Console().print(table)
    typer.echo(f"Sends promised within the caps: {', '.join(sends) or 'none'}.")
    typer.echo(f"Held out of routing: {'yes' if found.holdout else 'no'}.")


def print_explanation(
    customer: str, used: Supposed, action: Action, steps: Sequence[Step], *, as_json: bool
) -> None:
    """Print each step and the action; with `as_json` one object instead."""
    known = used.score == used.score
    if as_json:
        shown = {
            "customer_id": customer,
            "target": used.target,
            "score": used.score if known else None,
            "tier": used.tier,
            "action": msgspec.to_builtins(action),
            "steps": [asdict(step) for step in steps],
        }
        typer.echo(json.dumps(shown))
        return
    table = Table("rule", "applies", "because")
    for step in steps:
        because = "\n".join(f"{'+' if holds else '-'} {text}" for text, holds in step.compared)
        decides = step.applies and step.rule == action.rule
        table.add_row(step.rule, "yes" if step.applies else "no", because, style=_style(decides))
    Console().print(table)
    score = f"{used.score:.4f}" if known else "unknown; see --score"
    typer.echo(f"{used.target}: score {score}, tier {used.tier or 'unknown'}.")
    until = f" until {action.until}" if action.until else ""
    typer.echo(f"{action.kind}{until} (rule {action.rule}): {action.reason}.")


def _style(decides: bool) -> str | None:
    return "bold green" if decides else None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
