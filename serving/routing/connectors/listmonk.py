"""listmonk: attributes of subscribers, by `PATCH /api/subscribers/{id}`.

PATCH merges attributes; PUT would remove subscribers from their lists. A subscriber is a call.
Who a customer is is asked for with an SQL expression, so ids are quoted as SQL wants it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from feature_repo.errors import ConfigError, StoreUnavailable
from serving.routing.connectors.directory import asking_again, is_number
from serving.routing.connectors.errors import CallFailed, Later, Refused
from serving.routing.connectors.fields import values_of
from serving.routing.connectors.http import Caller, object_of
from serving.routing.connectors.port import DELIVERED, UNKNOWN, Directory, Outcome, dead, retry
from serving.routing.message import Routed

_LONGEST_QUERY: Final = 1_500
"""Of ids in one question: it travels in the URL, and each character may become three."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Listmonk:
    """Writes into the attributes of subscribers."""

    def __init__(self, caller: Caller, url: str, fields: Mapping[str, str], most: int) -> None:
        self._caller = caller
        self._url = url
        self._fields = fields
        self.most = most
        self.directory: Directory

    def deliver(self, batch: Sequence[Routed]) -> list[Outcome]:
        """A call for each subscriber that is known; the first that says `later` ends it."""
        return asking_again(batch, self._attempt)

    def preview(self, message: Routed) -> Mapping[str, object]:
        """The attributes; null empties one."""
        return values_of(message, self._fields)

    def check(self) -> str:
        """Ask for one subscriber.

        Raises:
            StoreUnavailable: it does not answer, or not to us.
        """
        try:
            told = object_of(
                self._caller.call(
                    "GET", f"{self._url}/api/subscribers", params={"page": "1", "per_page": "1"}
                )
            )
        except CallFailed as exc:
            message = f"listmonk: {exc}."
            raise StoreUnavailable(message) from exc
        data = told.get("data")
        total = data.get("total") if isinstance(data, dict) else None
        return f"{total} subscribers are there"

    def find(self, field: str, customer_ids: Sequence[str]) -> Mapping[str, str]:
        """Subscribers whose attribute (or `email`) has our id.

        Raises:
            Later: listmonk cannot be asked now.
        """
        column = column_of(field)
        found: dict[str, str] = {}
        for part in _parts(customer_ids):
            expression = f"{column} IN ({', '.join(quoted(one) for one in part)})"
            params = {"query": expression, "page": "1", "per_page": str(2 * len(part))}
            try:
                told = object_of(
                    self._caller.call("GET", f"{self._url}/api/subscribers", params=params)
                )
            except Refused as exc:
                message = f"the search for subscribers was refused ({exc})"
                raise Later(message, 60.0) from None
            for row in _rows(told):
                one = row.get("email") if field == "email" else _attribute(row, field)
                if one in part:
                    found.setdefault(one, str(row.get("id")))
        return found

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()

    def _attempt(self, batch: Sequence[Routed]) -> list[Outcome]:
        try:
            found = self.directory.lookup([message.customer_id for message in batch])
        except Later as exc:
            return [retry(str(exc), exc.after_s)] * len(batch)
        outcomes: list[Outcome] = []
        for position, message in enumerate(batch):
            subscriber = found.get(message.customer_id, "")
            try:
                known = is_number(subscriber)
                outcomes.append(self._patch(subscriber, message) if known else UNKNOWN)
            except Later as exc:
                return [*outcomes, *[retry(str(exc), exc.after_s)] * (len(batch) - position)]
        return outcomes

    def _patch(self, subscriber: str, message: Routed) -> Outcome:
        body = msgspec.json.encode({"attribs": self.preview(message)})
        try:
            self._caller.call("PATCH", f"{self._url}/api/subscribers/{subscriber}", content=body)
        except CallFailed as exc:
            if isinstance(exc, Later) and exc.status != 404:
                raise
            # It answers 400 for a subscriber that was deleted, too.
            outcome = UNKNOWN if exc.status == 404 else dead(str(exc))
            return replace(outcome, is_gone=self.directory.forget(message.customer_id))
        return DELIVERED


def column_of(field: str) -> str:
    """The SQL for a field: `email`, or an attribute.

    Raises:
        ConfigError: its name would not be safe in SQL.

    >>> column_of("foresend_id")
    "subscribers.attribs->>'foresend_id'"
    """
    if not _NAME.fullmatch(field):
        message = f"contact.field {field!r} cannot be asked for; use letters, digits and _."
        raise ConfigError(message)
    return "subscribers.email" if field == "email" else f"subscribers.attribs->>'{field}'"


def quoted(text: str) -> str:
    """A text as an SQL literal (PostgreSQL with its standard strings).

    >>> quoted("o'neil")
    "'o''neil'"
    """
    return "'" + text.replace("\0", "").replace("'", "''") + "'"


def _parts(customer_ids: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    length = 0
    for one in customer_ids:
        if part and length + len(one) > _LONGEST_QUERY:
            yield part
            part, length = [], 0
        part.append(one)
        length += len(one) + 4
    if part:
        yield part


def _rows(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    data = told.get("data")
    rows = data.get("results") if isinstance(data, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _attribute(row: Mapping[str, Any], field: str) -> Any:
    attribs = row.get("attribs")
    value = attribs.get(field) if isinstance(attribs, dict) else None
    return value if value is None or isinstance(value, str) else str(value)
