"""The engine against `lightgbm.Booster.predict`, bit for bit, where trees are easily misread."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import lightgbm
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.kernels.libraries import EngineFailed
from serving.kernels.lightgbm_engine import FEW_ROWS, LightGbmEngine, header

Floats = npt.NDArray[np.float64]

LEVELS = (6, 20, 200)
NUMBERS = 5
WIDTH = NUMBERS + len(LEVELS)
EPOCH_S = NUMBERS - 1


@cache
def booster(*, categorical: bool) -> lightgbm.Booster:
    random = np.random.default_rng(11)
    rows = 3_000
    matrix = random.normal(size=(rows, WIDTH)) * 100
    matrix[:, EPOCH_S] = 1.7e9 + random.integers(0, 10_000_000, rows) / 7
    for at, levels in enumerate(LEVELS, start=NUMBERS):
        matrix[:, at] = random.integers(0, levels, rows)
    signal = matrix[:, 0] + 40 * (matrix[:, -1] % 3) + (matrix[:, EPOCH_S] % 100_000) / 500
    matrix[random.random(matrix.shape) < 0.08] = np.nan
    label = signal > np.median(signal)
    data = lightgbm.Dataset(
        matrix,
        label,
        categorical_feature=list(range(NUMBERS, WIDTH)) if categorical else [],
    )
    quiet = {
        "objective": "binary",
        "verbosity": -1,
        "num_leaves": 31,
        "num_threads": 1,
        "cat_smooth": 1.0,
        "min_data_in_leaf": 5,
    }
    return lightgbm.train(quiet, data, num_boost_round=40)


@cache
def engine(*, categorical: bool) -> LightGbmEngine:
    return LightGbmEngine(booster(categorical=categorical).model_to_string())


def thresholds(text: str) -> Floats:
    lines = [line for line in text.split("\n") if line.startswith("threshold=")]
    return np.array([float(word) for line in lines for word in line[10:].split()])


def hard_rows(text: str, rows: int = 4_000) -> Floats:
    """Whatever a row may hold, and above all the very values that trees ask about."""
    random = np.random.default_rng(5)
    asked = thresholds(text)
    odd = [
        np.nan,
        np.inf,
        -np.inf,
        0.0,
        -0.0,
        -1.0,
        0.5,
        2.999_999,
        199.0,
        200.0,
        1e9,
        1e-36,
        5e-324,
    ]
    pool = np.concatenate(
        [asked, np.nextafter(asked, np.inf), np.nextafter(asked, -np.inf), odd * 200]
    )
    return random.choice(pool, (rows, WIDTH))


def expected(rows: Floats, *, categorical: bool) -> Floats:
    found = booster(categorical=categorical).predict(rows, raw_score=True, num_threads=1)
    return np.asarray(found, dtype=np.float64)


BOTH = pytest.mark.parametrize("categorical", [False, True], ids=["numbers", "categories"])


@BOTH
def test_hard_rows_have_the_bits_of_the_booster_together_and_alone(categorical: bool) -> None:
    found = engine(categorical=categorical)
    rows = hard_rows(found.model_to_string())
    wanted = expected(rows, categorical=categorical)

    alone = np.concatenate([found.margin(rows[at : at + 1]) for at in range(len(rows))])

    assert len(np.unique(wanted)) > 1_000
    assert found.margin(rows).tobytes() == wanted.tobytes()
    assert alone.tobytes() == wanted.tobytes()


@BOTH
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(width=64), min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=12)
)
def test_any_doubles_have_the_bits_of_the_booster(
    categorical: bool, rows: list[list[float]]
) -> None:
    matrix = np.array(rows)

    found = engine(categorical=categorical).margin(matrix)

    assert found.tobytes() == expected(matrix, categorical=categorical).tobytes()


@pytest.mark.parametrize("rows", [0, 1, 2, FEW_ROWS, FEW_ROWS + 1, 64])
def test_leaves_are_those_of_the_booster_for_any_number_of_rows(rows: int) -> None:
    found = engine(categorical=True)
    matrix = hard_rows(found.model_to_string())[:rows]

    leaves = found.leaves(matrix)

    assert leaves.shape == (rows, 40)
    if rows:
        wanted = booster(categorical=True).predict(matrix, pred_leaf=True)
        assert leaves.tolist() == np.asarray(wanted).tolist()


def test_shap_values_are_those_of_the_booster() -> None:
    found = engine(categorical=True)
    matrix = hard_rows(found.model_to_string())[:20]

    wanted = np.asarray(booster(categorical=True).predict(matrix, pred_contrib=True))

    assert found.contributions(matrix).tobytes() == wanted.tobytes()


def test_threads_that_score_at_once_do_not_see_each_other_s_rows() -> None:
    found = LightGbmEngine(booster(categorical=True).model_to_string())
    rows = hard_rows(found.model_to_string(), 800)
    wanted = expected(rows, categorical=True)

    def score(size: int) -> bool:
        parts = [found.margin(rows[at : at + size]) for at in range(0, len(rows), size)]
        return np.concatenate(parts).tobytes() == wanted.tobytes()

    with ThreadPoolExecutor(8) as pool:
        right = list(pool.map(score, [1, 2, 64, 1, 5, 1, 800, 3] * 3))

    assert right == [True] * 24


def test_shap_values_may_be_asked_for_by_threads_at_once() -> None:
    found = engine(categorical=True)
    rows = hard_rows(found.model_to_string())[:50]
    wanted = found.contributions(rows).tobytes()

    with ThreadPoolExecutor(4) as pool:
        same = [part.tobytes() == wanted for part in pool.map(found.contributions, [rows] * 12)]

    assert same == [True] * 12


def test_an_engine_that_is_replaced_leaves_nothing_behind_in_threads_that_used_it() -> None:
    found = LightGbmEngine(booster(categorical=False).model_to_string())
    row = np.zeros((1, WIDTH))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(found.margin, [row] * 8))
        found.margin(row)
        handle = weakref.ref(found._booster)

        del found
        gc.collect()

        assert handle() is None


@pytest.mark.parametrize("order", ["F", "C"])
def test_rows_of_another_layout_or_type_are_read_all_the_same(order: str) -> None:
    found = engine(categorical=True)
    rows = np.round(np.nan_to_num(hard_rows(found.model_to_string())[:9], posinf=3.0, neginf=0.0))

    same = found.margin(np.array(rows, dtype=np.float64, order="F" if order == "F" else "C"))

    assert same.tolist() == expected(rows, categorical=True).tolist()
    strided = np.repeat(rows, 2, axis=1)[:, ::2]
    assert found.margin(strided).tolist() == same.tolist()


@pytest.mark.parametrize("shape", [(1, WIDTH - 1), (9, WIDTH + 1), (WIDTH,), (0, 1)])
def test_a_matrix_of_another_width_is_refused_and_not_read_beyond(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineFailed, match=rf"reads \(rows, {WIDTH}\)"):
        engine(categorical=True).margin(np.zeros(shape))


@pytest.mark.parametrize("text", ["", "tree\n", "no booster at all"])
def test_text_that_is_no_booster_is_refused_with_the_library_s_reason(text: str) -> None:
    with pytest.raises(EngineFailed, match="LightGBM refused"):
        LightGbmEngine(text)


def test_a_booster_of_several_classes_is_refused() -> None:
    quiet = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1}
    data = lightgbm.Dataset(np.arange(300.0)[:, None] % 7, np.arange(300) % 3)
    text = lightgbm.train(quiet, data, num_boost_round=2).model_to_string()

    with pytest.raises(EngineFailed, match="3 trees at a time"):
        LightGbmEngine(text)


def test_the_names_and_the_number_of_trees_are_the_booster_s() -> None:
    found = engine(categorical=True)

    assert list(found.feature_names) == booster(categorical=True).feature_name()
    assert found.num_trees() == 40
    with pytest.raises(EngineFailed, match="no line colour="):
        header(found.model_to_string(), "colour")
