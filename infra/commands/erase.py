"""`foresend erase`: forget a customer, with a receipt."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    customer: Annotated[
        str, typer.Argument(help="Customer id; or the e-mail address of one who has no other id.")
    ],
    email: Annotated[
        list[str] | None,
        typer.Option(help="An address of the customer, besides those found in the raw store."),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a build or a writer to let go.")
    ] = 60.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the receipt as one last line of JSON.")
    ] = False,
) -> None:
    """Remove CUSTOMER from raw store, log (all versions), features, Redis, queue, prediction log
    and quarantine. There is no way back. Killed, it is run again and goes on.
    """
    from datetime import UTC, datetime

    from rich.console import Console

    from feature_repo.history.erase import erase
    from infra.erasure_view import opened, print_receipt, whom

    if not yes:
        typer.confirm("Erase this customer for good?", abort=True)
    console = Console(stderr=True)
    with opened() as stores, console.status("Erasing") as status:
        customer_id, emails = whom(stores.ingest, customer, email or [])
        receipt, path = erase(
            stores,
            customer_id,
            emails=emails,
            clock=lambda: datetime.now(UTC),
            wait_s=wait,
            progress=lambda step: status.update(f"Erasing: {step}"),
        )
    print_receipt(receipt, path, as_json=as_json)
