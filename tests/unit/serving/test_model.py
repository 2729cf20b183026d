from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st

from serving.calibrator import FloatArray, Isotonic, Platt, calibrator_from_json, sigmoid
from serving.encoder import Encoder
from serving.estimators import Blend, Estimator
from serving.logistic import LevelTerm, Logistic, NumberTerm
from serving.model import EXAMPLES, MANIFEST, SPEC, ModelUnusable, ScoringModel
from serving.pyfunc import _load_pyfunc
from serving.trees import LightGbm
from serving.xgb import XgBoost, feature_types

ENCODER = Encoder(("spend", "country", "age"), {"country": ("DE", "FR")})


def some_columns(rows: int = 40) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(3)
    spend = random.gamma(1.0, 100.0, rows)
    spend[::7] = np.nan
    country = np.array([["DE", "FR", "XX", None][i % 4] for i in range(rows)], dtype=object)
    return {"age": random.uniform(0, 90, rows), "country": country, "spend": spend}


def a_booster() -> lightgbm.Booster:
    columns = some_columns(400)
    label = (columns["age"] + np.nan_to_num(columns["spend"]) > 100).astype(int)
    data = lightgbm.Dataset(
        np.ascontiguousarray(ENCODER.matrix(columns)),
        label,
        feature_name=list(ENCODER.features),
        categorical_feature=["country"],
    )
    quiet = {"objective": "binary", "verbosity": -1, "num_leaves": 7, "num_threads": 1}
    return lightgbm.train(quiet, data, num_boost_round=10)


def an_xgb_booster() -> xgboost.Booster:
    columns = some_columns(400)
    label = (columns["age"] + np.nan_to_num(columns["spend"]) > 100).astype(int)
    label = np.where(columns["country"] == "DE", 1 - label, label)
    data = xgboost.DMatrix(
        ENCODER.matrix(columns),
        label,
        feature_names=list(ENCODER.features),
        feature_types=feature_types(ENCODER.features, ENCODER.categories),
        enable_categorical=True,
        nthread=1,
    )
    quiet = {"objective": "binary:logistic", "verbosity": 0, "max_depth": 3, "nthread": 1}
    return xgboost.train(quiet, data, num_boost_round=10)


LOGISTIC = Logistic(
    intercept=-0.5,
    numbers=(
        NumberTerm("spend", 0.0, 500.0, 3.0, 1.5, 0.4, -0.2),
        NumberTerm("age", 0.0, 90.0, 3.0, 1.0, -0.1, 0.0),
    ),
    levels=(LevelTerm("country", (0.3, -0.3), 0.0),),
)


def an_estimator(kind: str) -> Estimator:
    if kind == "logistic":
        return LOGISTIC
    if kind == "lightgbm":
        return LightGbm(a_booster())
    if kind == "xgboost":
        return XgBoost(an_xgb_booster())
    members = (LOGISTIC, LightGbm(a_booster()), XgBoost(an_xgb_booster()))
    return Blend(members, (0.5, 0.25, 0.25))


def a_model(kind: str) -> ScoringModel:
    is_plain = kind in {"logistic", "blend"}
    return ScoringModel(
        target="click_7d",
        feature_service="send_score_v1",
        encoder=ENCODER,
        estimator=an_estimator(kind),
        calibrator=Platt(0.9, 0.1) if is_plain else Isotonic((-2.0, 2.0), (0.1, 0.8)),
        trained_through="2024-01-01T00:00:00+00:00",
        base_rate=0.1,
    ).with_examples(some_columns(20))


KINDS = pytest.mark.parametrize("kind", ["logistic", "lightgbm", "xgboost", "blend"])


@KINDS
def test_a_saved_model_loads_as_the_same_scores_to_the_last_bit(kind: str, tmp_path: Path) -> None:
    model = a_model(kind)
    model.save(tmp_path)

    loaded = ScoringModel.load(tmp_path)

    assert loaded.predict(some_columns()).tolist() == model.predict(some_columns()).tolist()
    assert (loaded.target, loaded.feature_names, loaded.categorical) == (
        "click_7d",
        ("spend", "country", "age"),
        ("country",),
    )


@KINDS
def test_contributions_sum_to_the_log_odds(kind: str, tmp_path: Path) -> None:
    a_model(kind).save(tmp_path)
    model, columns = ScoringModel.load(tmp_path), some_columns()

    found = model.contributions(columns)

    assert found.shape == (40, 4)
    # XGBoost adds in 32 bits.
    np.testing.assert_allclose(found.sum(axis=1), model.raw(columns), atol=1e-5)
    assert (np.ptp(found[:, :3], axis=0) > 0.0).sum() >= 2
    assert np.ptp(found[:, 3]) == 0.0
    assert model.contributions({k: v[:0] for k, v in columns.items()}).shape == (0, 4)


@KINDS
def test_columns_are_taken_by_name_and_others_ignored(kind: str) -> None:
    model, columns = a_model(kind), some_columns()
    shuffled = {name: columns[name] for name in ("country", "spend", "age")} | {"more": np.ones(40)}

    assert model.predict(shuffled).tolist() == model.predict(columns).tolist()


@KINDS
def test_a_row_scores_the_same_alone_as_among_others(kind: str) -> None:
    model, columns = a_model(kind), some_columns()

    alone = [model.predict({k: v[i : i + 1] for k, v in columns.items()})[0] for i in range(40)]

    assert alone == model.predict(columns).tolist()


@KINDS
def test_an_unseen_level_counts_as_missing_and_an_infinite_number_too(kind: str) -> None:
    model = a_model(kind)
    odd = {"spend": np.array([np.inf]), "age": np.array([1.0]), "country": np.array(["XX"], object)}
    none = {"spend": np.array([np.nan]), "age": np.array([1.0]), "country": np.array([None])}

    assert model.predict(odd).tolist() == model.predict(none).tolist()


@KINDS
def test_no_rows_give_no_scores(kind: str) -> None:
    assert a_model(kind).predict({k: v[:0] for k, v in some_columns().items()}).shape == (0,)


@KINDS
def test_a_missing_column_is_named(kind: str) -> None:
    columns = some_columns()
    del columns["age"]

    with pytest.raises(ModelUnusable, match=r"not given: age.*send_score_v1"):
        a_model(kind).predict(columns)


def test_a_logistic_value_beyond_those_fitted_on_counts_as_the_nearest() -> None:
    model = a_model("logistic")
    row = {"age": np.array([1.0]), "country": np.array(["DE"], object)}

    most = model.predict(row | {"spend": np.array([500.0])})
    beyond = model.predict(row | {"spend": np.array([1e9])})

    assert most.tolist() == beyond.tolist()


def rewrite(folder: Path, name: str, change: dict[str, Any]) -> None:
    """Change a file and make the manifest agree."""
    document = json.loads((folder / name).read_text()) | change
    model = ScoringModel.load(folder)
    model.save(folder)
    (folder / name).write_text(json.dumps(document))
    hashes = json.loads((folder / MANIFEST).read_text())
    from hashlib import sha256

    hashes[name] = sha256((folder / name).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(hashes))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (SPEC, {"schema_version": 2}, "schema_version 2"),
        (SPEC, {"features": ["age", "country", "spend"]}, "trees read other features"),
        (SPEC, {"features": ["spend", "spend", "age"]}, "repeats a name"),
        (SPEC, {"calibrator": {"kind": "magic"}}, "magic"),
        (SPEC, {"calibrator": {"kind": "platt", "slope": 2.0, "intercept": 0.0}}, "reproduce"),
        (EXAMPLES, {"scores": [0.5] * 20}, "reproduce"),
    ],
)
def test_a_folder_that_is_not_what_was_written_is_refused(
    tmp_path: Path, name: str, change: dict[str, Any], said: str
) -> None:
    a_model("lightgbm").save(tmp_path)
    rewrite(tmp_path, name, change)

    with pytest.raises(ModelUnusable, match=said):
        ScoringModel.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": ["age", "country", "spend"]}, "trees read other features"),
        ({"categories": {}}, "trees read other features"),
        ({"estimator": "forest"}, "'forest' is not one of"),
    ],
)
def test_a_folder_of_xgboost_that_is_not_what_was_written_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    a_model("xgboost").save(tmp_path)
    rewrite(tmp_path, SPEC, change)

    with pytest.raises(ModelUnusable, match=said):
        ScoringModel.load(tmp_path)


def test_text_that_is_no_booster_of_xgboost_is_refused(tmp_path: Path) -> None:
    a_model("xgboost").save(tmp_path)
    rewrite(tmp_path, "xgboost.json", {"learner": {}})

    with pytest.raises(ModelUnusable, match="cannot be used"):
        ScoringModel.load(tmp_path)


def test_a_logistic_that_weighs_an_unlisted_feature_is_refused(tmp_path: Path) -> None:
    a_model("logistic").save(tmp_path)
    rewrite(tmp_path, SPEC, {"features": ["spend", "country", "height"]})

    with pytest.raises(ModelUnusable, match="not listed: \\['age'\\]"):
        ScoringModel.load(tmp_path)


@pytest.mark.parametrize("damage", ["byte", "missing", "empty"])
def test_a_damaged_folder_is_refused_with_its_name(tmp_path: Path, damage: str) -> None:
    a_model("lightgbm").save(tmp_path)
    booster = tmp_path / "booster.txt"
    if damage == "byte":
        booster.write_text(booster.read_text().replace("leaf_value=", "leaf_value=1", 1))
    elif damage == "missing":
        booster.unlink()
    else:
        shutil.rmtree(tmp_path)

    with pytest.raises(ModelUnusable, match=tmp_path.name):
        ScoringModel.load(tmp_path)


def test_mlflow_s_loader_takes_a_frame_and_treats_a_dropped_column_as_missing(
    tmp_path: Path,
) -> None:
    import pandas as pd

    a_model("lightgbm").save(tmp_path)
    columns = some_columns()
    frame = pd.DataFrame(columns)

    loaded = _load_pyfunc(str(tmp_path))

    assert loaded.predict(frame).tolist() == a_model("lightgbm").predict(columns).tolist()
    missing = columns | {"age": np.full(40, np.nan)}
    expected = a_model("lightgbm").predict(missing).tolist()
    assert loaded.predict(frame.drop(columns="age")).tolist() == expected


@pytest.mark.parametrize("kind", ["lightgbm", "blend"])
def test_a_server_s_process_loads_and_scores_without_the_packages_training_needs(
    kind: str, tmp_path: Path
) -> None:
    a_model(kind).save(tmp_path)
    code = (
        "import sys, pathlib, numpy; from serving.model import ScoringModel\n"
        "model = ScoringModel.load(pathlib.Path(sys.argv[1])); rows = numpy.zeros((70, 3))\n"
        "model.score_matrix(rows); model.score_matrix(rows[:1]); model.explain(rows)\n"
        "heavy = {'lightgbm', 'xgboost', 'pandas', 'sklearn', 'scipy', 'mlflow', 'feast'}\n"
        "print(heavy & set(sys.modules))"
    )

    said = subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], text=True)

    assert said.strip() == "set()"


@KINDS
def test_a_matrix_scores_as_its_columns_do(kind: str) -> None:
    model, columns = a_model(kind), some_columns()

    found = model.score_matrix(model.encoder.matrix(columns))

    assert found.tolist() == model.predict(columns).tolist()


@KINDS
@pytest.mark.parametrize("rows", [0, 1, 40])
def test_reasons_sum_to_the_score(kind: str, rows: int, tmp_path: Path) -> None:
    a_model(kind).save(tmp_path)
    model = ScoringModel.load(tmp_path)
    matrix = np.ascontiguousarray(ENCODER.matrix(some_columns())[:rows])

    found = model.explain(matrix)

    scores = model.score_matrix(matrix)
    assert found.points.shape == (rows, 3)
    np.testing.assert_allclose(found.base + found.points.sum(axis=1), scores, rtol=0, atol=1e-9)
    assert found.method == ("linear" if kind == "logistic" else "path")
    margin, _ = model.estimator.reasons(matrix, ENCODER.features)
    assert margin.tolist() == model.estimator.margin(matrix, ENCODER.features).tolist()


@KINDS
def test_reasons_of_a_row_alone_are_those_among_others(kind: str) -> None:
    model = a_model(kind)
    matrix = np.ascontiguousarray(ENCODER.matrix(some_columns()))

    alone = np.concatenate([model.explain(matrix[at : at + 1]).points for at in range(40)])

    np.testing.assert_allclose(alone, model.explain(matrix).points, rtol=0, atol=1e-12)


def test_a_regression_of_many_terms_adds_them_one_after_another() -> None:
    random = np.random.default_rng(4)
    names = tuple(f"n{at}" for at in range(60))
    numbers = tuple(
        NumberTerm(name, -2.0, 2.0, *random.normal(size=1), 0.7, *random.normal(size=2))
        for name in names[:50]
    )
    levels = tuple(LevelTerm(name, tuple(random.normal(size=3)), 0.9) for name in names[50:])
    logistic = Logistic(0.3, numbers, levels)
    matrix = random.normal(size=(300, 60)) * 3
    matrix[:, 50:] = random.integers(0, 4, (300, 10))  # 3 is no level
    matrix[random.random(matrix.shape) < 0.2] = np.nan

    found = logistic.margin(matrix, names)

    alone = [logistic.margin(matrix[at : at + 1], names)[0] for at in range(300)]
    assert found.tolist() == alone
    parts = logistic.contributions(matrix, names)
    # Not `sum`: from Python 3.12 on it corrects for rounding.
    assert [reduce(add, [row[-1], *row[:-1]]) for row in parts.tolist()] == found.tolist()
    assert set(parts[np.isnan(matrix[:, 50]) | (matrix[:, 50] == 3), 50]) == {0.9}


def test_a_model_whose_reasons_do_not_sum_to_its_scores_is_refused() -> None:
    class Vain(Logistic):
        def reasons(
            self, matrix: FloatArray, features: Sequence[str]
        ) -> tuple[FloatArray, FloatArray]:
            margin, parts = super().reasons(matrix, features)
            return margin + 0.5, parts

    model = replace(a_model("logistic"), estimator=Vain(0.1, LOGISTIC.numbers, LOGISTIC.levels))

    with pytest.raises(ModelUnusable, match="do not sum"):
        replace(model, examples={}).check()


def test_a_model_that_minds_its_neighbours_is_refused() -> None:
    class Social(Logistic):
        def margin(self, matrix: FloatArray, features: Sequence[str]) -> FloatArray:
            return super().margin(matrix, features) + len(matrix)

    model = replace(a_model("logistic"), estimator=Social(0.1, (), ()), examples={})

    with pytest.raises(ModelUnusable, match="among others than alone"):
        model.check()


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=20))
def test_the_sigmoid_is_a_rising_probability(margins: list[float]) -> None:
    values = sigmoid(np.array(sorted(margins)))

    assert ((values >= 0) & (values <= 1)).all()
    assert (np.diff(values) >= 0).all()


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "isotonic", "margins": [0.0, 0.0], "probabilities": [0.1, 0.2]},  # not rising
        {"kind": "isotonic", "margins": [0.0, 1.0], "probabilities": [0.2, 0.1]},  # falling
        {"kind": "isotonic", "margins": [], "probabilities": []},
        {"kind": "isotonic", "margins": [0.0], "probabilities": [0.1, 0.2]},
    ],
)
def test_isotonic_knots_that_do_not_rise_are_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"rise|margins"):
        calibrator_from_json(value)
