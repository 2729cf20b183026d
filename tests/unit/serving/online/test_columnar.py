"""Replies read side by side say what replies read one by one say."""

from __future__ import annotations

import struct

import hiredis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import value_codec
from feature_repo.online_codec import STREAM_FIELD, feature_field, time_field
from serving.online.columnar import Columnar
from serving.online.reading import Reading
from serving.online.stored import VIEWS, Stored, scoring_layout

LAYOUT = scoring_layout("")
NUMBER_FIELDS = [feature_field(*pair) for pair in LAYOUT.numbers]
TEXT_FIELDS = [feature_field(*pair) for pair in LAYOUT.words]
TIME_FIELDS = [time_field(view) for view in VIEWS]

doubles = st.floats(allow_nan=False).map(lambda value: b"\x29" + struct.pack("<d", value))
other_numbers = st.one_of(
    st.floats(width=32, allow_nan=False).map(lambda value: b"\x35" + struct.pack("<f", value)),
    st.integers(0, 127).map(lambda value: bytes([0x20, value])),
)
numbers = st.one_of(doubles, doubles, st.just(b""), other_numbers, st.binary(max_size=12))
texts = st.one_of(st.text(max_size=80).map(value_codec.string), st.binary(max_size=12))
times = st.integers(0, 2**40).map(lambda value: value_codec.micros(value * 1_000 + 7))
hashes = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(NUMBER_FIELDS[:12], numbers),
        **dict.fromkeys(TEXT_FIELDS, texts),
        **dict.fromkeys(TIME_FIELDS, times),
        STREAM_FIELD: st.binary(max_size=400),
        b"_ts:" + b"x" * (len(TIME_FIELDS[0]) - 4): times,
        b"abcd": numbers,
        b"": numbers,
    },
)


def bulk(content: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(content), content)


def reply(held: dict[bytes, bytes]) -> bytes:
    pairs = b"".join(bulk(field) + bulk(value) for field, value in held.items())
    return b"*%d\r\n%b" % (2 * len(held), pairs)


def one_by_one(data: bytes, customers: int) -> Stored:
    reader = hiredis.Reader()
    reader.feed(data)
    return Reading("").stored([None, *(reader.gets() for _ in range(customers))])


def assert_same(found: Stored, expected: Stored) -> None:
    np.testing.assert_array_equal(found.numbers, expected.numbers)
    np.testing.assert_array_equal(found.view_known_at, expected.view_known_at)
    np.testing.assert_array_equal(found.known_at, expected.known_at)
    np.testing.assert_array_equal(found.found, expected.found)
    for mine, other in zip(found.texts, expected.texts, strict=True):
        assert mine.tolist() == other.tolist()


@settings(deadline=None, max_examples=60)
@given(st.lists(hashes, min_size=1, max_size=6))
def test_any_hashes_are_read_as_one_by_one(held: list[dict[bytes, bytes]]) -> None:
    data = b"".join(map(reply, held))

    found = Columnar().stored(data, len(held))

    # A value may look like the beginning of a reply: then the batch is left to the other reader.
    looks_alike = data.count(b"*") > len(held)
    assert found is not None or looks_alike
    if found is not None:
        assert_same(found, one_by_one(data, len(held)))


def test_hundreds_of_customers_of_all_sizes() -> None:
    rng = np.random.default_rng(4)
    held = []
    for _ in range(400):
        fields = rng.permutation(len(NUMBER_FIELDS))[: rng.integers(0, len(NUMBER_FIELDS))]
        values = {
            NUMBER_FIELDS[i]: b"\x29" + struct.pack("<d", rng.normal()) for i in fields.tolist()
        }
        held.append({**values, TIME_FIELDS[1]: value_codec.micros(1_700_000_000_000_000)})
    held[7] = {}
    data = b"".join(map(reply, held))

    found = Columnar().stored(data, len(held))

    assert found is not None
    assert_same(found, one_by_one(data, len(held)))
    assert not found.found[7]
    assert found.found.sum() == 399


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"*0\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n*0\r\n",
        b"*0\r\n-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        b"*2\r\n$4\r\nabcd\r\n$9\r\n\x29",
        b"*2\r\n$4\r\nabcd\r\n*0\r\n*0\r\n",
        b"*1\r\n$4\r\nabcd\r\n*0\r\n",
        b"*2\r\n$4\r\nabcd\r\n$-1\r\n*0\r\n",
        b"*2\r\n$999999999\r\nabcd\r\n$1\r\nx\r\n*0\r\n",
        b"*2\r\n:4\r\n:5\r\n*0\r\n",
        b"x*0\r\n*0\r\n",
        reply({b"abcd": b"1"}) + reply({b"abcd": b"2"}) + b"more",
        reply({b"abcd": b"1"}) + reply({b"abcd": b"2"}) + reply({}),
    ],
)
def test_what_is_not_two_hashes_is_left_to_the_other_reader(data: bytes) -> None:
    assert Columnar().stored(data, 2) is None
