"""What replies say: the same values as the codec of all readers, and nothing from odd ones."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime
from typing import Any

import hiredis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo import contract
from feature_repo.online_codec import arrange, decode, feature_field, time_field
from feature_repo.value_codec import (
    MISSING_DOUBLE,
    micros,
    second,
    seconds,
    string,
    text,
    timestamp,
)
from serving.online.connection import NoReply
from serving.online.reading import Reading
from serving.online.stored import NUMBERS, TEXTS, VIEW_OF, VIEWS, scoring_layout

LAYOUT = scoring_layout("shop")
READING = Reading("shop")
FIELDS = [feature_field(*pair) for pair in (*LAYOUT.numbers, *LAYOUT.words)]
TIMES = [time_field(view) for view in LAYOUT.views]
KNOWN = datetime(2026, 11, 24, 6, 30, 1, 250_000, tzinfo=UTC)


def double(value: float) -> bytes:
    return b"\x29" + struct.pack("<d", value)


def flat(held: dict[bytes, bytes]) -> list[bytes]:
    return [part for pair in held.items() for part in pair]


values = st.one_of(
    st.floats().map(double),
    st.just(b""),
    st.text(max_size=5).map(string),
    # What another Feast client may have written, and what none would.
    st.sampled_from([b"\x20\x05", b"\x38\x01", b"\x35\x00\x00\x80\x3f", b"\x29\x01", b"\x12\x05a"]),
    st.binary(max_size=12),
)
stamps = st.integers(0, 4 * 10**15).map(micros)
hashes = st.builds(
    lambda features, times: {**features, **times, b"_stream": b"\x00" * 70},
    st.dictionaries(st.sampled_from([*FIELDS, b"else"]), values, max_size=20),
    st.dictionaries(st.sampled_from(TIMES), stamps, max_size=4),
)


@given(st.lists(hashes, max_size=40))
def test_it_says_what_the_codec_of_all_readers_says(held: list[dict[bytes, bytes]]) -> None:
    replies = [flat(one) for one in held]

    stored = READING.stored([None, *replies])

    rows = decode(LAYOUT, arrange(LAYOUT, replies))
    assert stored.numbers.shape == (len(NUMBERS), len(held))
    assert stored.numbers.flags.c_contiguous
    np.testing.assert_array_equal(stored.found, rows.found)
    for name, column in rows.columns.items():
        np.testing.assert_array_equal(stored.columns[name], column)
    for place, view in enumerate(VIEWS):
        np.testing.assert_array_equal(stored.view_known_at[place], rows.known_at[view])


@given(st.one_of(stamps, st.binary(max_size=24), st.none()))
def test_one_time_is_read_as_a_column_of_times(value: bytes | None) -> None:
    column = seconds([value, timestamp(KNOWN)])

    np.testing.assert_array_equal(second(value), column[0])
    assert column[1] == KNOWN.timestamp()


def test_a_customer_without_a_view_is_not_found_and_one_with_a_view_is() -> None:
    stored = READING.stored([None, [], [TIMES[1], timestamp(KNOWN)]])

    assert stored.found.tolist() == [False, True]
    assert math.isnan(stored.known_at[0])
    assert stored.known_at[1] == KNOWN.timestamp()
    assert np.isnan(stored.numbers).all()


def test_nobody_asked_for_is_no_error() -> None:
    stored = READING.stored([b'{"through": "2026-11-24T06:00:00+00:00"}'])

    assert stored.numbers.shape == (len(NUMBERS), 0)
    assert [len(column) for column in stored.texts] == [0] * len(TEXTS)
    assert stored.view_known_at.shape == (len(VIEWS), 0)
    assert stored.through == datetime(2026, 11, 24, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    "reply",
    [
        b"text",
        7,
        None,
        [b"field without a value"],
        [b"field", None, b"more", b"", b"odd"],
        [[b"nested"], b"value"],
        hiredis.ReplyError("MOVED 1 127.0.0.1:2"),
        hiredis.ReplyError("NOPERM this user has no permissions"),
    ],
)
def test_a_reply_of_another_form_is_a_failure(reply: Any) -> None:
    with pytest.raises(NoReply):
        READING.stored([None, reply])


@pytest.mark.parametrize("note", [[b"list"], 7, hiredis.ReplyError("LOADING")])
def test_a_note_of_another_form_is_a_failure(note: Any) -> None:
    with pytest.raises(NoReply):
        READING.stored([note])


@pytest.mark.parametrize(
    "note", [b"{", b"{}", b'"x"', b'{"through": 3}', b'{"through": "2026-01-01T00:00:00"}', None]
)
def test_a_note_that_is_not_one_of_ours_says_nothing(note: bytes | None) -> None:
    assert READING.stored([note]).through is None


def test_one_key_of_another_type_does_not_fail_its_neighbours() -> None:
    wrong = hiredis.ReplyError("WRONGTYPE Operation against a key holding the wrong kind of value")

    stored = READING.stored([None, wrong, [TIMES[0], timestamp(KNOWN)]])

    assert stored.found.tolist() == [False, True]


def test_a_name_that_is_no_unicode_text_is_asked_for_like_any_other() -> None:
    commands = READING.commands(["\ud800", "çelik"])

    assert commands.count(b"HGETALL") == 2
    assert LAYOUT.keys(["çelik"])[0] in commands


@pytest.mark.parametrize("value", [b"\x12", b"\x12\x80", b"\x12\x02a", b"\x12\x01\xff", b"\x20"])
def test_broken_text_is_missing(value: bytes) -> None:
    assert text(value) is None


def test_every_stored_column_has_a_place_and_a_view() -> None:
    for view, names in contract.ONLINE_COLUMNS.items():
        assert all(VIEW_OF[name] == view for name in names)
    assert set(VIEW_OF) == {*NUMBERS, *TEXTS}
    assert VIEW_OF["last_event_at"] == contract.ACTIVITY
    assert set(TEXTS) == set(contract.TEXT_FEATURES)
    assert len(MISSING_DOUBLE) == 9
