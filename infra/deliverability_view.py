"""How placement readings, their sources and mailbox companies look on the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table

from feature_repo.deliverability.importing import Imported
from feature_repo.deliverability.mailboxes import Mailboxes
from feature_repo.deliverability.pull import Pulled
from feature_repo.deliverability.status import SourceStatus

_SHOWN_REJECTS = 20


def print_imported(done: Imported, *, as_json: bool) -> None:
    """Print what an import did."""
    table = Table(title="Readings", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _imported(done):
        table.add_row(name, value)
    Console().print(table)
    if as_json:
        typer.echo(json.dumps(asdict(done), default=str))


def _imported(done: Imported) -> Iterator[tuple[str, str]]:
    yield "files", f"{done.files:,} ({done.form})"
    yield "readings", f"{done.readings:,}"
    yield "added", f"{done.added:,}"
    if done.pending:
        yield "still pending, not counted", f"{done.pending:,}"
    yield "rejected", _counts(done.rejected)
    if done.form == "arf":
        yield "complaints of known customers", f"{done.customers_known:,}"
        yield "events appended", f"{done.events_added:,}"
    if done.first_day is not None:
        yield "days", f"{done.first_day} to {done.last_day}"
    if done.reject_file is not None:
        yield "why rejected", str(done.reject_file)


def print_pulled(done: Sequence[Pulled], *, as_json: bool) -> None:
    """Print what asking the sources gave."""
    table = Table("source", "outcome", "readings", "added", "rejected")
    for one in done:
        row = (f"{one.readings:,}", f"{one.added:,}", _counts(one.rejected))
        table.add_row(one.source, one.outcome, *row)
    Console().print(table)
    for one in done:
        if one.message is not None:
            typer.echo(f"{one.source}: {one.message}", err=True)
        for reject in one.rejects[:_SHOWN_REJECTS]:
            typer.echo(f"{one.source}, {reject.where}: {reject.detail}", err=True)
    if as_json:
        told = [
            {
                "source": one.source,
                "outcome": one.outcome,
                "readings": one.readings,
                "added": one.added,
                "rejected": one.rejected,
                "message": one.message,
            }
            for one in done
        ]
        typer.echo(json.dumps(told))


def print_status(sources: Sequence[SourceStatus], *, as_json: bool) -> None:
    """Print how fresh each source is."""
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in sources], default=str))
        return
    table = Table("source", "state", "newest day", "days old", "domains", "readings", "last pull")
    for one in sources:
        tried = one.state.tried_at
        table.add_row(
            one.source,
            one.verdict,
            str(one.newest_day or "none"),
            "" if one.stale_days is None else str(one.stale_days),
            f"{one.sending_domains:,}",
            f"{one.readings:,}",
            "" if tried is None else f"{tried:%Y-%m-%d %H:%M} UTC",
        )
    Console().print(table)
    for one in sources:
        if one.state.failure is not None:
            typer.echo(f"{one.source}: {one.state.failure}")


def print_mailboxes(answers: Iterable[Mailboxes], *, as_json: bool) -> None:
    """Print who runs the mailboxes of domains."""
    if as_json:
        typer.echo(json.dumps({one.domain: asdict(one) for one in answers}))
        return
    table = Table("domain", "mailbox provider", "known by", "MX")
    for one in answers:
        table.add_row(one.domain, one.family or "not known", one.by, ", ".join(one.mx[:2]))
    Console().print(table)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{many:,} {reason}" for reason, many in counts.items()) or "0"
