"""The codec without a Redis: what is encoded is decoded, and odd bytes are told from values."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import contract, transforms, wire
from feature_repo.online_codec import (
    Layout,
    OnlineRows,
    all_columns,
    arrange,
    decode,
    encode,
    feature_field,
    model_columns,
    time_field,
)
from feature_repo.value_codec import timestamp

LAYOUT = Layout("shop", {"v": ("a", "word", "b"), "w": ("c",)}, texts=frozenset({"word"}))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def commands(buffer: bytes) -> Iterator[list[bytes]]:
    """The RESP commands of a buffer."""
    at = 0

    def line() -> bytes:
        nonlocal at
        end = buffer.index(b"\r\n", at)
        text, at = buffer[at:end], end + 2
        return text

    while at < len(buffer):
        head = line()
        assert head[:1] == b"*"
        arguments = []
        for _ in range(int(head[1:])):
            size = int(line()[1:])
            arguments.append(buffer[at : at + size])
            assert buffer[at + size : at + size + 2] == b"\r\n"
            at += size + 2
        yield arguments


def replies(buffers: list[bytes], layout: Layout, customers: list[str]) -> list[list[bytes | None]]:
    """What a Redis that ran the commands answers to the layout's HMGETs."""
    hashes: dict[bytes, dict[bytes, bytes]] = {}
    for buffer in buffers:
        for name, key, *pairs in commands(buffer):
            assert name == b"HSET"
            hashes.setdefault(key, {}).update(zip(pairs[::2], pairs[1::2], strict=True))
    keys = layout.keys(customers)
    return [[hashes.get(key, {}).get(field) for field in layout.fields] for key in keys]


def rows(view: str, ids: list[str], times: list[datetime], **columns: list[object]) -> pa.Table:
    """A feature table; texts and numbers by their Python types."""
    data = {
        "customer_id": pa.array(ids),
        "event_timestamp": pa.array(times, pa.timestamp("us", "UTC")),
    }
    for name, values in columns.items():
        data[name] = pa.array(values, pa.string() if name == "word" else pa.float64())
    return pa.table(data)


numbers = st.one_of(st.none(), st.floats())
texts = st.one_of(st.none(), st.text(max_size=200))
moments = st.integers(-(2**51), 2**53).map(lambda us: EPOCH + timedelta(microseconds=us))
records = st.tuples(st.text(max_size=150), moments, numbers, texts, numbers)


@settings(max_examples=50, deadline=None)
@given(st.lists(records, max_size=8), st.booleans())
def test_what_is_encoded_is_decoded(
    given_rows: list[tuple[str, datetime, float, str, float]], sparse: bool
) -> None:
    unique = {row[0]: row for row in given_rows}
    ids = [*unique]
    times, a, word, b = ([row[i] for row in unique.values()] for i in range(1, 5))
    table = rows("v", ids, times, a=a, word=word, b=b)

    found = decode(LAYOUT, replies([encode(LAYOUT, "v", table, sparse=sparse)], LAYOUT, ids))

    expected = [math.nan if value is None else value for value in a]
    np.testing.assert_array_equal(found.columns["a"], expected)
    assert found.columns["word"].tolist() == word
    seconds = [(time - EPOCH).total_seconds() for time in times]
    np.testing.assert_allclose(found.known_at["v"], seconds, rtol=0, atol=1e-6)
    assert np.isnan(found.known_at["w"]).all()
    assert found.found.all()


def test_bytes_are_those_of_the_format() -> None:
    at = datetime(2024, 1, 1, 0, 0, 0, 5, tzinfo=UTC)
    (command,) = commands(
        encode(LAYOUT, "v", rows("v", ["x1"], [at], a=[1.5], word=["é"], b=[None]))
    )

    key = b"\x01\0\0\0" + b"\x02\0\0\0" + b"\x0b\0\0\0customer_id" + b"\x02\0\0\0" + b"\x02\0\0\0x1"
    assert command == [
        b"HSET",
        key + b"shop",
        b"_ts:v",
        bytes.fromhex("088081c8ac06108827"),
        feature_field("v", "a"),
        b"\x29" + struct.pack("<d", 1.5),
        feature_field("v", "b"),
        b"",
        feature_field("v", "word"),
        b"\x12\x02\xc3\xa9",
    ]


def test_any_command_can_carry_the_rows() -> None:
    buffer = encode(
        LAYOUT, "w", rows("w", ["x"], [EPOCH], c=[1.0]), command=(b"EVALSHA", b"s", b"1")
    )

    (command,) = commands(buffer)
    assert command[:3] == [b"EVALSHA", b"s", b"1"]
    assert command[4:6] == [b"_ts:w", b""]


def test_an_unknown_customer_is_not_found_and_all_is_missing() -> None:
    found = decode(LAYOUT, replies([], LAYOUT, ["nobody"]))

    assert found.found.tolist() == [False]
    assert np.isnan(found.columns["a"]).all()
    assert found.columns["word"].tolist() == [None]


def test_nobody_asked_is_nobody_found() -> None:
    found = decode(LAYOUT, [])

    assert (len(found.found), len(found.columns["a"]), len(found.known_at["v"])) == (0, 0, 0)


def reply(*values: bytes | None) -> OnlineRows:
    """Decoded: a, b, c, word, and the times of v and w."""
    return decode(LAYOUT, [values])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x35" + struct.pack("<f", 0.5), 0.5),  # float
        (b"\x20\xac\x02", 300.0),  # int64
        (b"\x20" + b"\xff" * 9 + b"\x01", -1.0),
        (b"\x18\x07", 7.0),  # int32
        (b"\x38\x01", 1.0),  # bool
        (b"\x12\x01x", math.nan),  # a text where a number is declared
    ],
)
def test_numbers_of_other_feast_types_are_read(value: bytes, expected: float) -> None:
    found = reply(value, b"", None, b"\x20\x01", b"\x08\x01", None)

    np.testing.assert_equal(found.columns["a"][0], expected)
    assert found.columns["word"].tolist() == [None]


def test_a_row_known_at_the_epoch_is_found() -> None:
    found = reply(None, None, None, None, b"", None)

    assert found.known_at["v"].tolist() == [0.0]
    assert found.found.tolist() == [True]


def test_a_row_whose_ttl_has_run_out_is_missing() -> None:
    layout = Layout("shop", LAYOUT.views, texts=LAYOUT.texts, ttl={"v": timedelta(days=1)})
    now = datetime(2024, 1, 10, tzinfo=UTC)
    times = [now - timedelta(days=1), now - timedelta(days=1, microseconds=1)]
    buffers = [
        encode(
            layout,
            "v",
            rows("v", ["ok", "old"], times, a=[1.0, 1.0], word=["x", "x"], b=[1.0, 1.0]),
        ),
        encode(layout, "w", rows("w", ["old"], times[1:], c=[1.0])),
    ]
    answer = replies(buffers, layout, ["ok", "old"])

    found = decode(layout, answer, now)

    assert np.isnan(found.columns["a"]).tolist() == [False, True]
    assert found.columns["word"].tolist() == ["x", None]
    assert found.columns["c"][1] == 1.0
    assert found.found.tolist() == [True, True]
    assert not np.isnan(decode(layout, answer).columns["a"]).any()


def test_a_key_names_its_customer_and_its_project() -> None:
    (key,) = LAYOUT.keys(["prod-7"])
    longer = Layout("pre_shop", LAYOUT.views)

    assert LAYOUT.customer_of(key) == "prod-7"
    assert LAYOUT.customer_of(longer.keys(["prod-7"])[0]) is None
    assert LAYOUT.customer_of(b"foresend:shop:loaded") is None
    assert LAYOUT.customer_of(LAYOUT.key_prefix) is None


def test_a_time_is_the_same_bytes_alone_and_in_a_column() -> None:
    at = datetime(1969, 7, 20, 20, 17, 40, 123456, tzinfo=UTC)
    (command,) = commands(encode(LAYOUT, "w", rows("w", ["x"], [at], c=[1.0])))

    assert command[3] == timestamp(at)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30))
def test_a_number_in_base_128_reads_as_written(values: list[int]) -> None:
    data, mask = wire.varints(np.array(values, dtype=np.int64))
    assert [row[shown].tobytes() for row, shown in zip(data, mask, strict=True)] == [
        wire.varint(value) for value in values
    ]

    padded = np.pad(np.where(mask, data, 0), [(0, 0), (0, 1)]).astype(np.uint8)
    back, end = wire.read_varints(padded, np.zeros(len(values), dtype=np.int64))

    assert back.tolist() == values
    assert end.tolist() == mask.sum(axis=1).tolist()


def test_no_two_features_share_a_name_or_a_field() -> None:
    layout = all_columns("shop")

    names = [name for columns in contract.VIEWS.values() for name in columns]
    assert len(set(names)) == len(names)
    assert len(set(layout.fields)) == len(layout.fields)
    assert set(model_columns("shop").fields) <= set(layout.fields)
    assert [time_field(view) for view in contract.VIEWS] == list(
        layout.fields[-len(contract.VIEWS) :]
    )


def test_a_model_feature_is_stored_or_computed_and_named_once() -> None:
    features = contract.MODEL_FEATURES
    stored = {name for columns in contract.ONLINE_COLUMNS.values() for name in columns}

    assert len(set(features)) == len(features)
    assert set(features) <= stored | set(transforms.SEND_TIME)
    for view, columns in contract.ONLINE_COLUMNS.items():
        assert set(columns) <= set(contract.VIEWS[view])


def test_whole_hashes_read_as_if_asked_field_by_field() -> None:
    one, other, absent = LAYOUT.fields[0], LAYOUT.fields[3], b"of another view"
    hashes = [[other, b"2", one, b"1"], [one, b"3", absent, b"4", other, b"5"], []]

    arranged = arrange(LAYOUT, hashes)

    picked = [[reply[LAYOUT.fields.index(name)] for name in (one, other)] for reply in arranged]
    assert picked == [[b"1", b"2"], [b"3", b"5"], [None, None]]
    assert decode(LAYOUT, arrange(LAYOUT, [[]])).found.tolist() == [False]
