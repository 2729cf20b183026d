"""Times read for whole columns are those read one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feature_repo import value_codec

usual = st.integers(300_000_000_000_000, 4_000_000_000_000_000).map(value_codec.micros)
whole = st.integers(300_000_000, 4_000_000_000).map(lambda s: value_codec.micros(s * 1_000_000))
early = st.integers(0, 200_000_000_000_000).map(value_codec.micros)
late = st.integers(2**35, 2**40).map(lambda s: value_codec.micros(s * 1_000_000 + 7))


@given(st.lists(st.one_of(st.none(), usual, whole), max_size=40))
def test_usual_times_are_read_as_one_by_one(values: list[bytes | None]) -> None:
    found = value_codec.seconds(values)

    np.testing.assert_array_equal(found, [value_codec.second(value) for value in values])


@given(st.lists(st.one_of(st.none(), st.just(b""), usual, early, late), max_size=20))
def test_one_unusual_time_changes_none_of_the_others(values: list[bytes | None]) -> None:
    found = value_codec.seconds(values)

    np.testing.assert_array_equal(found, [value_codec.second(value) for value in values])


def test_all_digits_of_a_microsecond_are_kept() -> None:
    moments = [1_760_000_000_000_000 + step for step in (0, 1, 127, 128, 16_384, 999_999)]

    found = value_codec.seconds([value_codec.micros(moment) for moment in moments])

    assert (np.round(found * 1e6).astype(np.int64) == moments).all()
