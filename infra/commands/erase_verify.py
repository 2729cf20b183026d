"""`foresend erase-verify`: look for a customer who was erased."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    receipt: Annotated[Path, typer.Argument(help="Receipt that `foresend erase` wrote.")],
    customer: Annotated[str, typer.Argument(help="Customer id or address, as it was erased.")],
    email: Annotated[
        list[str] | None, typer.Option(help="An address of the customer to look for as well.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one last line of JSON.")
    ] = False,
) -> None:
    """Search every store, and the bytes of every file below FORESEND_HOME, for CUSTOMER.

    Exit code 0 when nothing is found, 1 otherwise.
    """
    import json
    from dataclasses import asdict

    from feature_repo.errors import UnusableInput
    from feature_repo.history.erase_person import Person
    from feature_repo.history.erasure_receipt import read_receipt
    from feature_repo.history.erasure_verify import search
    from infra.erasure_view import opened, whom

    held = read_receipt(receipt)
    with opened() as stores:
        customer_id, emails = whom(stores.ingest, customer, email or [])
        if not held.is_about(customer_id):
            message = f"The receipt {receipt} is about another customer."
            raise UnusableInput(message)
        traces = list(search(stores, Person(customer_id).known_by(emails)))
    for trace in traces:
        typer.echo(f"found: {trace.store}, {trace.place} ({trace.count})")
    if not traces:
        typer.echo(f"Clean: nothing of the customer of receipt {held.id} is left.")
    if as_json:
        found = [asdict(trace) for trace in traces]
        typer.echo(json.dumps({"clean": not traces, "receipt": held.id, "traces": found}))
    if traces:
        raise typer.Exit(1)
