"""SendGrid: custom fields of marketing contacts, by `PUT /v3/marketing/contacts`.

A call holds up to 30,000 contacts or 6 MB and is answered by 202 and the id of a job, which is
asked about until it has ended. Fields that are not sent stay; custom fields must exist and are
addressed by their ids. A contact that SendGrid does not have is made by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from feature_repo.errors import ConfigError, StoreUnavailable
from serving.routing.connectors.errors import CallFailed, Later
from serving.routing.connectors.fields import Value, values_of
from serving.routing.connectors.http import NEEDS_A_PERSON_S, Caller, object_of, told_apart
from serving.routing.connectors.port import (
    DELIVERED,
    UNKNOWN,
    Directory,
    Fate,
    Outcome,
    dead,
    retry,
)
from serving.routing.message import Routed

URL: Final = "https://api.sendgrid.com"
MOST_BYTES: Final = 6_000_000
IDENTIFIERS: Final = ("email", "external_id", "anonymous_id", "phone_number_id")

_ASK_AGAIN_S: Final = 5.0
_FORGET_JOB_S: Final = 900.0
"""A job that says nothing for so long is sent again."""

_FORGOTTEN_S: Final = 2 * _FORGET_JOB_S
"""Nobody asks about a job that is older."""


@dataclass(frozen=True, slots=True)
class _Job:
    id: str
    #: By the monotonic clock, seconds.
    started: float
    contacts: int


class SendGrid:
    """Writes into custom fields of contacts."""

    def __init__(
        self,
        caller: Caller,
        url: str,
        fields: Mapping[str, str],
        most: int,
        *,
        identifier: str,
        monotonic: Callable[[], float],
    ) -> None:
        self._caller = caller
        self._url = url
        self._fields = fields
        self._identifier = identifier
        self._monotonic = monotonic
        self.most = most
        self.directory: Directory
        self._ids: Mapping[str, tuple[str, str]] = {}
        #: By id of the message.
        self._jobs: dict[str, _Job] = {}

    def deliver(self, batch: Sequence[Routed]) -> list[Outcome]:
        """Ask about the jobs of messages that have one; send the others."""
        outcomes = self._ended(batch)
        new = [message for message in batch if message.id not in outcomes]
        try:
            found = self.directory.lookup([message.customer_id for message in new])
            if new:
                self._know_fields()
        except CallFailed as exc:
            failed = retry(str(exc), exc.after_s)
            return [outcomes.get(message.id, failed) for message in batch]
        known = [message for message in new if message.customer_id in found]
        for part in self._sized(known, found):
            told = told_apart(part, lambda these: self._put(these, found))
            outcomes.update(zip((m.id for m in part), told, strict=True))
        return [outcomes.get(message.id, UNKNOWN) for message in batch]

    def preview(self, message: Routed) -> Mapping[str, object]:
        """The custom fields by their names."""
        return values_of(message, self._fields)

    def check(self) -> str:
        """Ask for the custom fields.

        Raises:
            ConfigError: one is missing.
            StoreUnavailable: SendGrid does not answer, or not to us.
        """
        try:
            self._ids = self._definitions()
        except CallFailed as exc:
            message = f"SendGrid: {exc}."
            raise StoreUnavailable(message) from exc
        if missing := self._missing():
            message = f"SendGrid has no custom fields {', '.join(missing)}; make them there first."
            raise ConfigError(message)
        return f"custom fields {', '.join(self._fields.values())} are there"

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()

    def _know_fields(self) -> None:
        if not self._missing():
            return
        self._ids = self._definitions()
        if missing := self._missing():
            message = f"SendGrid has no custom fields {', '.join(missing)}"
            raise Later(message, NEEDS_A_PERSON_S)

    def _missing(self) -> list[str]:
        return sorted(set(self._fields.values()) - self._ids.keys())

    def _definitions(self) -> Mapping[str, tuple[str, str]]:
        """Id and type of each custom field by name."""
        url = f"{self._url}/v3/marketing/field_definitions"
        found = object_of(self._caller.call("GET", url)).get("custom_fields")
        rows = found if isinstance(found, list) else []
        return {
            str(row.get("name")): (str(row.get("id")), str(row.get("field_type")))
            for row in rows
            if isinstance(row, dict)
        }

    def _put(self, batch: Sequence[Routed], contacts: Mapping[str, str]) -> list[Outcome]:
        body = b'{"contacts":[' + b",".join(self._contact(m, contacts) for m in batch) + b"]}"
        response = self._caller.call("PUT", f"{self._url}/v3/marketing/contacts", content=body)
        job = object_of(response).get("job_id")
        if not isinstance(job, str) or not job:
            message = f"status {response.status_code} without a job_id"
            raise Later(message)
        now = self._monotonic()
        started = _Job(job, now, len(batch))
        # Of messages that expired, or were replaced while SendGrid could not be asked.
        for one in [one for one, old in self._jobs.items() if now - old.started > _FORGOTTEN_S]:
            del self._jobs[one]
        self._jobs.update((message.id, started) for message in batch)
        return [Outcome(Fate.PENDING, after_s=_ASK_AGAIN_S)] * len(batch)

    def _ended(self, batch: Sequence[Routed]) -> dict[str, Outcome]:
        """Outcomes of the messages that have a job."""
        jobs: dict[str, list[Routed]] = {}
        for message in batch:
            if message.id in self._jobs:
                jobs.setdefault(self._jobs[message.id].id, []).append(message)
        outcomes = {}
        for job, messages in jobs.items():
            for message, outcome in zip(messages, self._about(job, messages), strict=True):
                outcomes[message.id] = outcome
        return outcomes

    def _about(self, job: str, messages: Sequence[Routed]) -> list[Outcome]:
        try:
            url = f"{self._url}/v3/marketing/contacts/imports/{job}"
            told = object_of(self._caller.call("GET", url))
        except CallFailed as exc:
            # A job that nobody knows is sent again. One that cannot be asked about may still be
            # done, and would then write its older values over those of a newer message.
            waiting = Outcome(Fate.PENDING, str(exc), max(exc.after_s or 0.0, _ASK_AGAIN_S))
            return self._overdue(messages, waiting, now=exc.status == 404)
        status = told.get("status")
        if status == "completed":
            return self._finish(messages, DELIVERED)
        if status not in {"errored", "failed"}:
            pending = Outcome(Fate.PENDING, after_s=_ASK_AGAIN_S)
            return self._overdue(messages, pending, now=False)
        results = told.get("results")
        counts = results if isinstance(results, dict) else {}
        return self._tell_apart(str(status), messages, counts.get("errored_count"))

    def _tell_apart(
        self, status: str, messages: Sequence[Routed], errored: object
    ) -> list[Outcome]:
        """One message is to blame itself; of several, halves are sent again."""
        reason = f"the job ended as {status}, {errored} contacts with errors"
        if self._jobs[messages[0].id].contacts == 1:
            return self._finish(messages, dead(reason))
        self._finish(messages, DELIVERED)
        try:
            found = self.directory.lookup([message.customer_id for message in messages])
        except Later as exc:
            return [retry(str(exc), exc.after_s)] * len(messages)
        if any(message.customer_id not in found for message in messages):
            return [retry(reason)] * len(messages)
        middle = (len(messages) + 1) // 2
        outcomes: list[Outcome] = []
        for half in (messages[:middle], messages[middle:]):
            outcomes += told_apart(half, lambda these: self._put(these, found))
        return outcomes

    def _overdue(self, messages: Sequence[Routed], outcome: Outcome, *, now: bool) -> list[Outcome]:
        started = self._jobs[messages[0].id].started
        if now or self._monotonic() - started > _FORGET_JOB_S:
            return self._finish(messages, retry("the job was lost; it is sent again"))
        return [outcome] * len(messages)

    def _finish(self, messages: Sequence[Routed], outcome: Outcome) -> list[Outcome]:
        for message in messages:
            self._jobs.pop(message.id, None)
        return [outcome] * len(messages)

    def _sized(self, batch: Sequence[Routed], contacts: Mapping[str, str]) -> list[list[Routed]]:
        """The batch in parts that are not too large."""
        parts: list[list[Routed]] = []
        size = MOST_BYTES
        for message in batch:
            length = len(self._contact(message, contacts)) + 1
            if size + length > MOST_BYTES - 100:
                parts.append([])
                size = 0
            parts[-1].append(message)
            size += length
        return parts

    def _contact(self, message: Routed, contacts: Mapping[str, str]) -> bytes:
        written, values = values_of(message, self._fields), {}
        for theirs in self._fields.values():
            field, kind = self._ids[theirs]
            # An empty text empties a field of texts; another would refuse it, and stays as it is.
            if written[theirs] is not None or kind == "Text":
                values[field] = _typed(written[theirs], kind)
        contact = {self._identifier: contacts[message.customer_id], "custom_fields": values}
        return msgspec.json.encode(contact)


def _typed(value: Value, kind: str) -> str | float:
    """A value as the type of its field wants it; nothing is an empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value) if kind == "Number" else str(value).lower()
    return value if kind == "Number" else str(value)
