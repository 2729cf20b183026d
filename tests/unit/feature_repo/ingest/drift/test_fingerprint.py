"""What a structure is, and that nobody can make it expensive or make it hold data."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.ingest.drift.fingerprint import (
    MOST_PATHS,
    fingerprint,
    fingerprint_of,
    paths,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=30,
)


def test_paths_name_each_place_with_its_json_type() -> None:
    payload = {"a": {"b": 1.5, "c": None}, "tags": ["x", 2], "ok": True}

    assert paths(payload) == {
        *(("a", "object"), ("a.b", "number"), ("a.c", "null"), ("ok", "boolean")),
        *(("tags", "array"), ("tags[]", "string"), ("tags[]", "number")),
    }


def test_text_that_becomes_a_list_is_another_structure() -> None:
    assert fingerprint({"category": "promo"}) != fingerprint({"category": ["promo"]})


def test_a_key_with_a_dot_is_no_path() -> None:
    assert paths({"a.b": 1}) != paths({"a": {"b": 1}})


def test_keys_that_are_data_are_not_paths() -> None:
    addresses = {"sent": {"jane@example.com": 1, "joe@example.com": 2}}
    numbers = {"by_id": {"123456": True}}

    assert paths(addresses) == {("sent", "object"), ("sent.*", "number")}
    assert ("by_id.*", "boolean") in paths(numbers)


def test_a_table_of_a_hundred_thousand_keys_is_one_path() -> None:
    assert len(paths({"x": {f"key{n}": {"a": n} for n in range(100_000)}})) == 2


def test_a_payload_with_too_many_paths_is_described_by_its_top() -> None:
    bush = {f"k{i}": {f"j{i}{j}": 1 for j in range(100)} for i in range(200)}
    shuffled = dict(random.Random(1).sample(sorted(bush.items()), len(bush)))

    assert len(paths(bush)) <= MOST_PATHS
    assert fingerprint(bush) == fingerprint(shuffled)


def test_a_payload_may_be_as_deep_as_json_readers_allow() -> None:
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"a": deep}

    assert len(paths(deep)) <= MOST_PATHS
    assert fingerprint(deep) == fingerprint({"a": deep})


def test_half_a_character_is_no_obstacle() -> None:
    assert fingerprint(json.loads('{"\\ud800": 1}')) == fingerprint_of(paths({"\ud800": 1}))


@settings(max_examples=60)
@given(JSON)
def test_the_fingerprint_depends_on_the_paths_alone(payload: object) -> None:
    assert fingerprint(payload) == fingerprint_of(paths(payload))
    assert len(fingerprint(payload)) == 16


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=8), st.randoms())
def test_the_order_of_keys_does_not_matter(
    payload: dict[str, object], order: random.Random
) -> None:
    keys = list(payload)
    order.shuffle(keys)

    assert fingerprint(payload) == fingerprint({key: payload[key] for key in keys})
