"""What a module of this folder says about its service."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from feature_repo.event import Event, EventType

Payload = dict[str, Any]

JSON_HEADERS: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Report:
    """An event as a service has to report it."""

    event: Event
    #: The recipient, which the event does not hold.
    address: str

    @property
    def seconds(self) -> int:
        """Event time in whole seconds."""
        return int(self.event.event_time.timestamp())

    @property
    def iso(self) -> str:
        """Event time, with milliseconds."""
        return iso(self.event.event_time)


@dataclass(frozen=True, slots=True)
class Body:
    """A request to the ingest service."""

    content: bytes
    headers: Mapping[str, str]


def no_id(_event: Event) -> str | None:
    """For a service whose events have no id."""
    return None


def own_id(service: str) -> Callable[[Event], str]:
    """For a service that is given the event's id as its own."""
    return lambda event: f"{service}:{event.event_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """One service: which kinds it reports, in what form, and how it sends them."""

    name: str
    #: Kinds it reports, and as which kind each is read again.
    kinds: Mapping[EventType, EventType]
    #: The event in its form.
    encode: Callable[[Report], Payload]
    #: A request of some payloads, signed with the secret when there is one.
    wrap: Callable[[Sequence[Payload], str | None, datetime], Body]
    #: The id an event has once it was read; None where the service gives no id to correct by.
    event_id: Callable[[Event], str | None] = no_id
    #: Events of one request, at most.
    most: int = 1


def same(*kinds: EventType) -> dict[EventType, EventType]:
    """Kinds that are read as what they are.

    >>> same(EventType.OPENED)
    {<EventType.OPENED: 'opened'>: <EventType.OPENED: 'opened'>}
    """
    return {kind: kind for kind in kinds}


def iso(at: datetime) -> str:
    """A time as services write it: UTC with milliseconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


def array(payloads: Sequence[Payload], headers: Mapping[str, str] = JSON_HEADERS) -> Body:
    """A JSON array of the payloads."""
    return Body(orjson.dumps(list(payloads)), headers)


def single(payloads: Sequence[Payload], headers: Mapping[str, str] = JSON_HEADERS) -> Body:
    """The one payload as a JSON object."""
    (payload,) = payloads
    return Body(orjson.dumps(payload), headers)


def hmac_hex(secret: str, signed: bytes, algorithm: str) -> str:
    """Hexadecimal HMAC."""
    return hmac.new(secret.encode(), signed, algorithm).hexdigest()


def number_of(text: str) -> int:
    """A number that stands for a text, as services number things."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)


def without_missing(payload: Payload) -> Payload:
    """The payload without its keys of no value."""
    return {name: value for name, value in payload.items() if value is not None}
