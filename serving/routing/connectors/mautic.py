"""Mautic: custom fields of contacts, by `PATCH /api/contacts/batch/edit`.

Never by PUT, which empties every field that is not sent. A call holds up to 200 contacts
(`api_batch_max_limit`) and answers 200 with a status for each. The fields must exist.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from feature_repo.errors import ConfigError, StoreUnavailable
from serving.routing.connectors.directory import asking_again, is_number
from serving.routing.connectors.errors import CallFailed, Later
from serving.routing.connectors.fields import TIMES, Value, plain_time, values_of
from serving.routing.connectors.http import Caller, object_of, told_apart
from serving.routing.connectors.port import DELIVERED, UNKNOWN, Directory, Outcome, dead, retry
from serving.routing.message import Routed

_AGAIN_S: Final = 30.0


class Mautic:
    """Writes into the fields of contacts."""

    def __init__(self, caller: Caller, url: str, fields: Mapping[str, str], most: int) -> None:
        self._caller = caller
        self._url = url
        self._fields = fields
        self._times = {theirs for ours, theirs in fields.items() if ours in TIMES}
        self.most = most
        self.directory: Directory

    def deliver(self, batch: Sequence[Routed]) -> list[Outcome]:
        """One call for all contacts that are known, and one for those that were merged."""
        return asking_again(batch, self._attempt)

    def preview(self, message: Routed) -> Mapping[str, object]:
        """The fields; an empty one is sent as an empty text."""
        values = values_of(message, self._fields)
        return {theirs: self._shaped(theirs, value) for theirs, value in values.items()}

    def check(self) -> str:
        """Ask for a contact, and for the fields.

        Raises:
            ConfigError: a field is missing.
            StoreUnavailable: it does not answer, or not to us.
        """
        try:
            self._caller.call("GET", f"{self._url}/api/contacts", params={"limit": "1"})
            told = object_of(
                self._caller.call(
                    "GET", f"{self._url}/api/fields/contact", params={"limit": "1000"}
                )
            )
        except CallFailed as exc:
            message = f"Mautic: {exc}. Is its API switched on (Configuration, API Settings)?"
            raise StoreUnavailable(message) from exc
        aliases = {field.get("alias") for field in _values(told.get("fields"))}
        missing = sorted(set(self._fields.values()) - aliases)
        if missing:
            message = f"Mautic has no contact fields {', '.join(missing)}; make them there first."
            raise ConfigError(message)
        return f"contact fields {', '.join(self._fields.values())} are there"

    def find(self, field: str, customer_ids: Sequence[str]) -> Mapping[str, str]:
        """Contacts whose field has our id.

        Raises:
            Later: Mautic cannot be asked now.
        """
        found: dict[str, str] = {}
        for one in customer_ids:
            where = {
                "where[0][col]": field,
                "where[0][expr]": "eq",
                "where[0][val]": one,
                "minimal": "1",
                "limit": "2",
            }
            try:
                response = self._caller.call("GET", f"{self._url}/api/contacts", params=where)
            except CallFailed as exc:
                raise Later(str(exc), exc.after_s or _AGAIN_S) from None
            for contact in _values(object_of(response).get("contacts")):
                found.setdefault(one, str(contact.get("id")))
        return found

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()

    def _attempt(self, batch: Sequence[Routed]) -> list[Outcome]:
        try:
            told = self.directory.lookup([message.customer_id for message in batch])
        except Later as exc:
            return [retry(str(exc), exc.after_s)] * len(batch)
        found = {customer: contact for customer, contact in told.items() if is_number(contact)}
        known = [message for message in batch if message.customer_id in found]
        outcomes = iter(told_apart(known, lambda part: self._edit(part, found)))
        return [next(outcomes) if m.customer_id in found else UNKNOWN for m in batch]

    def _edit(self, batch: Sequence[Routed], contacts: Mapping[str, str]) -> list[Outcome]:
        body = [{"id": contacts[m.customer_id], **self.preview(m)} for m in batch]
        told = object_of(
            self._caller.call(
                "PATCH", f"{self._url}/api/contacts/batch/edit", content=msgspec.json.encode(body)
            )
        )
        # PHP writes a list when keys count up from 0, and an object otherwise.
        statuses, errors = _by_position(told.get("statusCodes")), _by_position(told.get("errors"))
        if not statuses and not errors and "contacts" not in told:
            message = "the answer to a batch has neither contacts nor statusCodes"
            raise Later(message, _AGAIN_S)
        return [self._outcome(m, statuses.get(i), errors.get(i)) for i, m in enumerate(batch)]

    def _outcome(self, message: Routed, status: object, error: object) -> Outcome:
        code = status if isinstance(status, int) else None
        if code is None and isinstance(error, Mapping):
            told = error.get("code")
            code = told if isinstance(told, int) else 400
        if code is None or 200 <= code < 300:
            return DELIVERED
        if code == 404:
            # Merged or deleted; by its field it may be found under another id.
            return replace(UNKNOWN, is_gone=self.directory.forget(message.customer_id))
        if code == 429 or code >= 500:
            return retry(f"status {code} for a contact")
        return dead(f"status {code} for a contact")

    def _shaped(self, theirs: str, value: Value) -> str | float:
        if value is None:
            return ""
        if isinstance(value, bool):
            return int(value)
        return plain_time(value) if theirs in self._times and isinstance(value, str) else value


def basic(user: str, password: str) -> Mapping[str, str]:
    """The header of HTTP basic authentication.

    >>> basic("a", "b")
    {'Authorization': 'Basic YTpi'}
    """
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def _values(found: Any) -> list[Mapping[str, Any]]:
    """The objects of a list, or of an object that is keyed by id."""
    rows = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return [row for row in rows if isinstance(row, dict)]


def _by_position(found: Any) -> dict[int, Any]:
    if isinstance(found, list):
        return dict(enumerate(found))
    if isinstance(found, dict):
        return {int(key): value for key, value in found.items() if str(key).isdigit()}
    return {}
