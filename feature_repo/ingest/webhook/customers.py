"""Who an event is about: an id of the installation's own, or a stand-in made of the address.

The order: a custom argument of the message, the provider's own customer id, the address through
the installation's table, the hash of the address. The address never leaves this module.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from feature_repo.errors import StoreUnavailable
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.redaction import is_address
from feature_repo.ingest.webhook.values import first

LONGEST: Final = 512
"""Characters of an id."""


class Customers:
    """Resolves customers by the settings of an installation."""

    def __init__(self, settings: IngestSettings) -> None:
        self._keys: Sequence[str] = settings.customer_keys
        self._table = None if settings.identities is None else identities(settings.identities)

    def resolve(
        self, arguments: Mapping[str, Any] | None, own: str | None, address: str | None
    ) -> str | None:
        """The customer's id, None when nothing names one.

        Raises:
            Misfit: a custom argument is no text.
        """
        named = self._argument(arguments) if arguments else None
        found = named or own
        if found is not None and not is_address(found):
            return found
        # Some use the address as the id: then it is an address.
        return self._by_address(found or address)

    def _argument(self, arguments: Mapping[str, Any]) -> str | None:
        for key in self._keys:
            value = arguments.get(key)
            if value is not None:
                found = first(value)
                if found is not None:
                    return found
        return None

    def _by_address(self, address: str | None) -> str | None:
        if address is None:
            return None
        known = None if self._table is None else self._table.get(address_digest(address))
        return known or stand_in(address)


def stand_in(address: str) -> str:
    """The id of a customer of whom nothing but the address is known.

    >>> stand_in("jane@example.com")
    'e:8c87b489ce35cf2e2f39f80e282cb2e8'
    """
    return f"e:{address_digest(address)[:32]}"


def address_digest(address: str) -> str:
    """SHA-256 of an address, in hex, as the table of identities has it.

    >>> address_digest(" Jane@Example.com") == address_digest("jane@example.com")
    True
    """
    return hashlib.sha256(address.strip().lower().encode("utf-8", "replace")).hexdigest()


def identities(path: Path) -> Mapping[str, str]:
    """The table `email_sha256,customer_id`, read again when the file changed.

    Raises:
        StoreUnavailable: it cannot be read as that; without it events would get other ids.
    """
    try:
        found = path.stat()
    except OSError as exc:
        message = f"Identities {path} cannot be read: {exc}. Mend FORESEND_INGEST_IDENTITIES."
        raise StoreUnavailable(message) from exc
    return _identities(path, (found.st_ino, found.st_mtime_ns, found.st_size))


@lru_cache(maxsize=2)
def _identities(path: Path, seen: tuple[int, int, int]) -> Mapping[str, str]:
    del seen
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            return {row["email_sha256"].strip().lower(): row["customer_id"].strip() for row in rows}
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as exc:
        message = (
            f"Identities {path} cannot be read as CSV with the columns email_sha256 and "
            f"customer_id: {exc!r}. Mend the file."
        )
        raise StoreUnavailable(message) from exc
