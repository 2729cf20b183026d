"""What the two commands about erasure share: the stores, the person, and the receipt as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from feature_repo import addresses, online
from feature_repo.errors import ConfigError
from feature_repo.history.erase import Online, Stores
from feature_repo.history.erasure_receipt import Receipt
from feature_repo.ingest.settings import IngestSettings, load_ingest_settings
from feature_repo.ingest.webhook.customers import Customers
from feature_repo.ingest.webhook.redaction import is_address
from feature_repo.settings import load_settings
from feature_repo.stream.queue import open_queue

IDENTITIES: str = (
    "The table of identities (FORESEND_INGEST_IDENTITIES), backups and systems that Foresend "
    "reads from or writes to are yours to clear."
)


@contextmanager
def opened() -> Iterator[Stores]:
    """The stores of the installation, Redis and queue included.

    Raises:
        StoreUnavailable: no address of Redis is known.
    """
    settings = load_settings()
    with online.connect(addresses.redis_url(settings)) as client:
        queue = open_queue(settings)
        try:
            yield Stores(
                settings=settings,
                ingest=load_ingest_settings(),
                online=Online(client=client, queue=queue),
            )
        finally:
            queue.close()


def whom(ingest: IngestSettings, customer: str, emails: Sequence[str]) -> tuple[str, list[str]]:
    """The customer's id and addresses: an address stands for the id that ingestion makes of it.

    Raises:
        ConfigError: the id is blank.
    """
    if not customer.strip():
        message = "The customer's id is empty. Name the customer to erase or to look for."
        raise ConfigError(message)
    if not is_address(customer):
        return customer, list(emails)
    found = Customers(ingest).resolve(None, None, customer)
    return found or customer, [customer, *emails]


def print_receipt(receipt: Receipt, path: Path, *, as_json: bool) -> None:
    """Print what was removed and where the receipt is."""
    table = Table(title="Erased", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for store, count in receipt.stores.items():
        table.add_row(store, f"{count:,}")
    console = Console()
    console.print(table)
    for note in (*receipt.notes, IDENTITIES):
        console.print(note, highlight=False)
    console.print(f"Receipt: {path}", highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(path.read_text().replace("\n", ""))
