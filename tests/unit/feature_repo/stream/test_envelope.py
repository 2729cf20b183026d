from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from feature_repo.stream.envelope import (
    COMPRESSED_FROM,
    MOST_BYTES,
    MOST_EVENTS,
    BadEnvelope,
    pack,
    size,
    unpack,
)


def test_events_come_out_as_they_went_in(events: Any) -> None:
    made = events(3 * MOST_EVENTS + 1)

    messages = list(pack(made))

    assert [event for message in messages for event in unpack(message)] == made
    assert [len(unpack(message)) for message in messages] == [500, 500, 500, 1]


def test_a_single_event_stays_readable_and_many_are_compressed(events: Any) -> None:
    (single,), (many,) = pack(events(1)), pack(events(100))

    assert single.startswith(b"[{")
    assert len(many) * 4 < size(many)
    assert size(single) == len(single) < COMPRESSED_FROM


def test_a_message_stays_below_its_largest_size(events: Any) -> None:
    made = [replace(event, url="x" * 20_000) for event in events(60)]

    messages = list(pack(made))

    assert all(size(message) <= MOST_BYTES for message in messages)
    assert sum(len(unpack(message)) for message in messages) == 60


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"{}",
        b'[{"event_id": 1}]',
        b"zst1",  # no length
        b"zst1\x05\x00\x00\x00garbage",
        b"zst1\xff\xff\xff\xffgarbage",  # says 4 GB
    ],
)
def test_foreign_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(BadEnvelope):
        unpack(body)


def test_a_compressed_message_that_was_cut_is_refused(events: Any) -> None:
    (message,) = pack(events(100))

    with pytest.raises(BadEnvelope):
        unpack(message[:-20])


@pytest.mark.parametrize(
    "time",
    [
        datetime.fromisoformat("2026-01-01T00:00:00"),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_times_that_are_not_utc_are_refused(events: Any, time: datetime) -> None:
    (body,) = pack([replace(events(1)[0], event_time=time)])

    with pytest.raises(BadEnvelope):
        unpack(body)
