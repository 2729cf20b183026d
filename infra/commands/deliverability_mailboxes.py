"""`foresend deliverability mailboxes`: who runs the mailboxes of domains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    domains: Annotated[
        list[str] | None, typer.Argument(help="Domains of customers' addresses.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Further domains, one a line; - is stdin.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Ask DNS also where the last answer is still good.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say who runs the mailboxes of DOMAINS, by name or, where that is allowed, by their MX.

    Answers are kept: from its next start on, ingestion gives events of these domains their
    mailbox provider. It never asks DNS itself. Exit 1 when DNS did not answer for all.
    """
    from datetime import UTC, datetime

    from feature_repo.deliverability.mailboxes import ask_mailboxes, read_domains
    from feature_repo.deliverability.settings import load_mailbox_settings
    from feature_repo.settings import load_settings
    from infra.deliverability_view import print_mailboxes
    from infra.import_view import progress_bar

    chosen = read_domains(domains or (), file)
    with progress_bar() as progress:
        answers = ask_mailboxes(
            load_settings(),
            load_mailbox_settings(),
            chosen,
            again=again,
            clock=lambda: datetime.now(UTC),
            progress=progress,
        )
    print_mailboxes(answers, as_json=as_json)
    if any(one.is_open for one in answers):
        raise typer.Exit(1)
