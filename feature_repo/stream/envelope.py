"""What travels through the queue: canonical events as one JSON array of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Final

import msgspec

from feature_repo.errors import ForesendError
from feature_repo.event import Event

MOST_EVENTS: Final = 500
"""Events of one message."""

MOST_BYTES: Final = 512 * 1024
"""Bytes of one message of more than one event; well below Kafka's limit of 1 MB."""

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(list[Event])


class BadEnvelope(ForesendError):
    """A message is not one that `pack` made."""


def pack(events: Sequence[Event]) -> Iterator[bytes]:
    """Messages that hold the events in their order.

    >>> list(pack([]))
    []
    """
    parts: list[bytes] = []
    size = 2
    for event in events:
        part = _encoder.encode(event)
        if parts and (len(parts) == MOST_EVENTS or size + len(part) + 1 > MOST_BYTES):
            yield _array(parts)
            parts, size = [], 2
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield _array(parts)


def unpack(body: bytes) -> list[Event]:
    """The events of a message.

    Raises:
        BadEnvelope: it is none of ours.
    """
    try:
        events = _decoder.decode(body)
    except msgspec.MsgspecError as exc:
        message = f"A message of {len(body)} bytes is no list of canonical events: {exc}."
        raise BadEnvelope(message) from exc
    for event in events:
        if event.event_time.tzinfo is None or event.received_time.tzinfo is None:
            message = f"Event {event.event_id!r} has a time without an offset; times are UTC."
            raise BadEnvelope(message)
        if event.event_time.utcoffset() != UTC.utcoffset(None):
            message = f"Event {event.event_id!r} has event_time {event.event_time}, not in UTC."
            raise BadEnvelope(message)
    return events


def _array(parts: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(parts) + b"]"
