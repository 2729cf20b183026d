"""Who a customer is in a tool: the same id, a column of a file, or found by asking."""

from __future__ import annotations

import csv
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from feature_repo.errors import ConfigError
from serving.routing.connectors.errors import Later
from serving.routing.connectors.port import Directory, Outcome
from serving.routing.connectors.settings import Part
from serving.routing.message import Routed

REMEMBERED: Final = 100_000
"""Customers whose contact is remembered."""

UNKNOWN_S: Final = 600.0
"""So long nobody is asked again for a customer whom the tool did not know."""

_COLUMNS: Final = ("customer_id", "contact")
_LOOK_AGAIN_S: Final = 60.0

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


class SameIds:
    """The tool knows customers by our ids."""

    def lookup(self, customer_ids: Sequence[str]) -> Mapping[str, str]:
        """The ids themselves."""
        return {one: one for one in customer_ids}

    def forget(self, customer_id: str) -> bool:
        """There is nothing to forget."""
        return False


class FileDirectory:
    """A CSV file with the columns `customer_id` and `contact`; read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: int | None = None
        self._contacts: Mapping[str, str] = {}

    def lookup(self, customer_ids: Sequence[str]) -> Mapping[str, str]:
        """Those in the file."""
        try:
            changed_at = self._path.stat().st_mtime_ns
            if changed_at != self._read_at:
                self._contacts = _read(self._path)
                self._read_at = changed_at
        except (OSError, ValueError, csv.Error) as exc:
            message = f"the file of contacts cannot be read ({type(exc).__name__})"
            raise Later(message, _LOOK_AGAIN_S) from None
        return {one: self._contacts[one] for one in customer_ids if one in self._contacts}

    def forget(self, customer_id: str) -> bool:
        """The file says what it says."""
        return False


class AskedDirectory:
    """Asks the tool, and remembers what it said: for good, or for a while that it knows nobody."""

    def __init__(
        self,
        ask: Callable[[Sequence[str]], Mapping[str, str]],
        monotonic: Callable[[], float],
        most: int = REMEMBERED,
    ) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._most = most
        #: None with the time when it was said, if the tool did not know the customer.
        self._told: OrderedDict[str, tuple[str | None, float]] = OrderedDict()

    def lookup(self, customer_ids: Sequence[str]) -> Mapping[str, str]:
        """Those the tool has."""
        now = self._monotonic()
        new = [one for one in dict.fromkeys(customer_ids) if not self._remembers(one, now)]
        answers = self._ask(new) if new else {}
        for one in new:
            self._told[one] = answers.get(one), now
        found = {}
        for one in customer_ids:
            self._told.move_to_end(one)
            contact, _ = self._told[one]
            if contact is not None:
                found[one] = contact
        while len(self._told) > self._most:
            self._told.popitem(last=False)
        return found

    def forget(self, customer_id: str) -> bool:
        """Ask again next time."""
        self._told.pop(customer_id, None)
        return True

    def _remembers(self, customer_id: str, now: float) -> bool:
        contact, at = self._told.get(customer_id, (None, -float("inf")))
        return contact is not None or now - at < UNKNOWN_S


def is_number(contact: str) -> bool:
    """Whether this is a number as tools write the ids of contacts.

    A tool that reads `7f3c` or `007` as 7 would write into the contact of somebody else.

    >>> [is_number(one) for one in ("7", "7f3c", "007", "0")]
    [True, False, False, False]
    """
    return _NUMBER.fullmatch(contact) is not None


def asking_again(
    batch: Sequence[Routed], attempt: Callable[[Sequence[Routed]], list[Outcome]]
) -> list[Outcome]:
    """Outcomes of an attempt, and of one more for those whose contact is gone.

    A contact that was merged or made anew has another id, which the tool tells when it is asked.
    """
    outcomes = attempt(batch)
    gone = [place for place, outcome in enumerate(outcomes) if outcome.is_gone]
    if gone:
        again = attempt([batch[place] for place in gone])
        for place, outcome in zip(gone, again, strict=True):
            outcomes[place] = outcome
    return outcomes


def directory_of(
    part: Part,
    ask: Callable[[str, Sequence[str]], Mapping[str, str]] | None,
    *,
    monotonic: Callable[[], float],
    default: str,
    default_field: str = "foresend_id",
) -> Directory:
    """As `contact` of the file says: `{by: id}`, `{by: field, field: ...}` or `{by: file, ...}`.

    `ask` finds contacts by the value of a field of the tool; None: the tool cannot be asked.

    Raises:
        ConfigError: it says something that cannot be used.
    """
    contact = part.part("contact", ("by", "field", "path"), {})
    ways = ("id", "file") if ask is None else ("id", "field", "file")
    (way, *_) = contact.names("by", ways, (default,))
    if way == "file":
        return FileDirectory(_path(contact))
    if way == "field" and ask is not None:
        field, finder = contact.text("field", default_field), ask
        return AskedDirectory(lambda ids: finder(field, ids), monotonic)
    return SameIds()


def _path(contact: Part) -> Path:
    path = Path(contact.text("path"))
    if not path.is_file():
        message = (
            f"{contact.where}.path {path} is no file; "
            f"write one with the columns {', '.join(_COLUMNS)}."
        )
        raise ConfigError(message)
    return path


def _read(path: Path) -> Mapping[str, str]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines)
        if not set(_COLUMNS) <= set(rows.fieldnames or ()):
            raise ValueError
        return {row["customer_id"]: row["contact"] for row in rows if row["contact"]}
