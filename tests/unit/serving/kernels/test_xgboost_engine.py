"""The engine against `xgboost.Booster`, bit for bit."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.kernels.libraries import EngineFailed, library_path
from serving.kernels.xgboost_engine import XgBoostEngine

Floats = npt.NDArray[np.float64]

NAMES = ["spend", "country", "age"]
TYPES = ["float", "c", "float"]


def some_rows(rows: int = 900) -> Floats:
    random = np.random.default_rng(8)
    matrix = random.normal(size=(rows, 3)) * 10
    matrix[:, 1] = random.integers(0, 7, rows)
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    return matrix


def as_matrix(rows: Floats, label: npt.NDArray[np.bool_] | None = None) -> xgboost.DMatrix:
    return xgboost.DMatrix(
        rows, label, feature_names=NAMES, feature_types=TYPES, enable_categorical=True, nthread=1
    )


@cache
def booster() -> xgboost.Booster:
    rows = some_rows()
    label = np.nan_to_num(rows[:, 0]) + 10 * (np.nan_to_num(rows[:, 1]) % 3) > 10
    quiet = {"objective": "binary:logistic", "verbosity": 0, "max_depth": 4, "nthread": 1}
    return xgboost.train(quiet, as_matrix(rows, label), num_boost_round=25)


@cache
def engine() -> XgBoostEngine:
    return XgBoostEngine(bytes(booster().save_raw("json")).decode())


def expected(rows: Floats) -> list[float]:
    found = booster().inplace_predict(rows, predict_type="margin", validate_features=False)
    return np.asarray(found, dtype=np.float64).reshape(-1).tolist()


def test_rows_have_the_bits_of_the_booster_together_and_alone() -> None:
    rows = some_rows()

    alone = [engine().margin(rows[at : at + 1])[0] for at in range(len(rows))]

    assert engine().margin(rows).tolist() == alone == expected(rows)


NUMBER = st.floats(-1e30, 1e30) | st.just(np.nan)
CODE = st.integers(0, 6).map(float) | st.just(np.nan)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBER, CODE, NUMBER), min_size=1, max_size=8))
def test_any_rows_an_encoder_makes_have_the_bits_of_the_booster(
    rows: list[tuple[float, float, float]],
) -> None:
    matrix = np.array(rows)

    assert engine().margin(matrix).tolist() == expected(matrix)


def test_contributions_and_paths_are_those_of_the_booster() -> None:
    rows = some_rows(60)
    shap = booster().predict(as_matrix(rows), pred_contribs=True)
    paths = booster().predict(as_matrix(rows), pred_contribs=True, approx_contribs=True)

    assert engine().contributions(rows).tolist() == shap.tolist()
    assert engine().paths(rows).tolist() == paths.tolist()
    assert engine().paths(rows[:0]).shape == engine().contributions(rows[:0]).shape == (0, 4)
    assert engine().margin(rows[:0]).shape == (0,)


def test_threads_that_score_at_once_do_not_see_each_other_s_rows() -> None:
    rows = some_rows(300)
    wanted, paths = expected(rows), engine().paths(rows).tolist()

    def score(size: int) -> bool:
        parts = [engine().margin(rows[at : at + size]) for at in range(0, len(rows), size)]
        return np.concatenate(parts).tolist() == wanted and engine().paths(rows).tolist() == paths

    with ThreadPoolExecutor(6) as pool:
        right = list(pool.map(score, [1, 2, 64, 1, 300, 1] * 3))

    assert right == [True] * 18


def test_an_engine_that_is_replaced_leaves_nothing_behind_in_threads_that_used_it() -> None:
    found = XgBoostEngine(bytes(booster().save_raw("json")).decode())
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(found.margin, [np.zeros((1, 3))] * 4))
        handle = weakref.ref(found._booster)

        del found
        gc.collect()

        assert handle() is None


@pytest.mark.parametrize("shape", [(1, 2), (9, 4), (3,)])
def test_a_matrix_of_another_width_is_refused_and_not_read_beyond(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineFailed, match=r"reads \(rows, 3\)"):
        engine().margin(np.zeros(shape))


@pytest.mark.parametrize("text", ["", "{}", '{"learner": {}}', "not json"])
def test_text_that_is_no_booster_is_refused_with_the_library_s_reason(text: str) -> None:
    with pytest.raises(EngineFailed, match="XGBoost refused"):
        XgBoostEngine(text)


def test_the_names_and_types_are_the_booster_s() -> None:
    assert (list(engine().feature_names), list(engine().feature_types)) == (NAMES, TYPES)


@pytest.mark.parametrize(("package", "stem"), [("nothing_of_the_name", "lib"), ("json", "libjson")])
def test_a_library_that_is_not_there_is_named_with_the_cure(package: str, stem: str) -> None:
    with pytest.raises(EngineFailed, match=rf"{stem} of package '{package}'.*Install {package}"):
        library_path(package, stem)
