from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.encoder import Encoder
from serving.matrix import MatrixReader
from serving.model import ModelUnusable

NUMBERS = ("opens", "spend", "age", "unused")
TEXTS = ("esp", "country")
ENCODER = Encoder(
    ("country", "age", "opens", "esp", "spend"), {"country": ("DE", "FR"), "esp": ("gmail",)}
)

ROW = st.tuples(
    st.lists(st.floats(width=64), min_size=4, max_size=4),
    st.sampled_from(["gmail", "web.de", "", None]),
    st.sampled_from(["DE", "FR", "XX", None]),
)


@given(st.lists(ROW, max_size=6))
def test_a_reader_gives_the_matrix_of_the_encoder_bit_for_bit(rows: list[Any]) -> None:
    numbers = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 4).T.copy()
    texts = [np.array([row[at] for row in rows], dtype=object) for at in (1, 2)]
    columns = dict(zip(NUMBERS, numbers, strict=True)) | dict(zip(TEXTS, texts, strict=True))

    found = MatrixReader(ENCODER, NUMBERS, TEXTS).matrix(numbers, texts)

    wanted = ENCODER.matrix(columns)
    assert found.shape == wanted.shape == (len(rows), 5)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, wanted)
    assert not np.isinf(found).any()


def test_the_store_s_numbers_are_not_changed() -> None:
    numbers = np.full((4, 2), np.inf)

    MatrixReader(ENCODER, NUMBERS, TEXTS).matrix(numbers, [np.array([None, None])] * 2)

    assert numbers.tolist() == [[np.inf] * 2] * 4


def test_a_model_of_texts_alone_is_read() -> None:
    encoder = Encoder(("country",), {"country": ("DE",)})

    found = MatrixReader(encoder, (), ("country",)).matrix(
        np.empty((0, 2)), [np.array(["DE", None], dtype=object)]
    )

    np.testing.assert_array_equal(found, [[0.0], [np.nan]])


@pytest.mark.parametrize(
    ("numbers", "texts", "said"),
    [
        (("opens", "spend"), TEXTS, "age"),
        (NUMBERS, ("esp",), "country"),
        ((*NUMBERS, "country"), ("esp",), "country"),  # a text among the numbers
        (("opens", "spend"), (*TEXTS, "age"), "age"),  # a number among the texts
    ],
)
def test_a_feature_that_is_not_served_is_named(
    numbers: tuple[str, ...], texts: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ModelUnusable, match=f"not served: {said}. Train"):
        MatrixReader(ENCODER, numbers, texts)


def test_numbers_of_another_layout_are_refused() -> None:
    reader = MatrixReader(ENCODER, NUMBERS, TEXTS)

    with pytest.raises(ValueError, match="3 rows; the layout names 4"):
        reader.matrix(np.zeros((3, 1)), [np.array([None])] * 2)
