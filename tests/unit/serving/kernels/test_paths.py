from __future__ import annotations

import warnings
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pytest

from serving.kernels.libraries import EngineFailed
from serving.kernels.lightgbm_engine import LightGbmEngine
from serving.kernels.paths import PathTable, read_forest

Floats = npt.NDArray[np.float64]

QUIET = {"objective": "binary", "verbosity": -1, "num_leaves": 12, "num_threads": 1}


def some_rows() -> tuple[Floats, npt.NDArray[np.bool_]]:
    random = np.random.default_rng(2)
    matrix = random.normal(size=(800, 4))
    matrix[:, 3] = random.integers(0, 9, 800)
    label = matrix[:, 0] + (matrix[:, 3] % 3) + random.normal(size=800) > 1
    matrix[::6, 1] = np.nan
    return matrix, label


def a_booster(**settings: Any) -> lightgbm.Booster:
    matrix, label = some_rows()
    data = lightgbm.Dataset(matrix, label, categorical_feature=[3])
    return lightgbm.train(QUIET | settings, data, num_boost_round=15)


def by_walking(tree: dict[str, Any], leaf: int, added: Floats) -> float:
    """The steps to one leaf of a dumped tree, node by node; its root's value."""

    def leaves(node: dict[str, Any]) -> list[dict[str, Any]]:
        if "leaf_value" in node:
            return [node]
        return leaves(node["left_child"]) + leaves(node["right_child"])

    def value(node: dict[str, Any]) -> float:
        under = leaves(node)
        return float(
            np.average(
                [x["leaf_value"] for x in under], weights=[x.get("leaf_count", 1) for x in under]
            )
        )

    node = tree["tree_structure"]
    root = value(node)
    while "leaf_value" not in node:
        left, right = node["left_child"], node["right_child"]
        goes_left = leaf in [x.get("leaf_index", 0) for x in leaves(left)]
        child = left if goes_left else right
        added[node["split_feature"]] += value(child) - value(node)
        node = child
    return root


def test_the_table_adds_up_what_a_walk_down_every_tree_does() -> None:
    booster, (matrix, _) = a_booster(), some_rows()
    engine = LightGbmEngine(booster.model_to_string())
    table = PathTable(read_forest(engine.model_to_string()), 4)
    leaves = engine.leaves(matrix[:40])
    wanted, base = np.zeros((40, 4)), np.zeros(40)
    for at, tree in enumerate(booster.dump_model()["tree_info"]):
        for row in range(40):
            base[row] += by_walking(tree, int(leaves[row, at]), wanted[row])

    found = table.add_up(leaves)

    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(base, table.base, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1) + table.base, engine.margin(matrix[:40]), 1e-12)


def test_the_base_is_that_of_shap_values_and_most_rows_have_the_same_first_reason() -> None:
    booster, (matrix, _) = a_booster(), some_rows()
    engine = LightGbmEngine(booster.model_to_string())
    table = PathTable(read_forest(engine.model_to_string()), 4)

    shap, found = engine.contributions(matrix), table.add_up(engine.leaves(matrix))

    np.testing.assert_allclose(shap[:, -1], table.base, rtol=1e-12)
    first = np.abs(shap[:, :-1]).argmax(axis=1) == np.abs(found).argmax(axis=1)
    assert first.mean() > 0.85


def test_trees_of_one_leaf_give_no_feature_anything() -> None:
    engine = LightGbmEngine(a_booster(min_data_in_leaf=800).model_to_string())
    table = PathTable(read_forest(engine.model_to_string()), 4)
    rows = np.zeros((3, 4))

    assert table.add_up(engine.leaves(rows)).tolist() == np.zeros((3, 4)).tolist()
    assert engine.margin(rows).tolist() == [table.base] * 3


def test_trees_of_many_and_of_one_leaf_may_stand_side_by_side() -> None:
    text = a_booster().model_to_string()
    lone = a_booster(min_data_in_leaf=800).model_to_string()
    tree = lone[lone.index("Tree=0") : lone.index("end of trees")]
    forest = read_forest(text[: text.index("Tree=0")] + tree + text[text.index("Tree=0") :])

    table = PathTable(forest, 4)

    plain = PathTable(read_forest(text), 4)
    leaf = float(tree[tree.index("leaf_value=") + 11 :].split("\n")[0])
    assert table.base == pytest.approx(plain.base + leaf, abs=1e-12)


def test_no_rows_have_no_reasons() -> None:
    table = PathTable(read_forest(a_booster().model_to_string()), 4)

    assert table.add_up(np.empty((0, 15), dtype=np.intp)).shape == (0, 4)


def test_leaves_that_are_no_numbers_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = a_booster(linear_tree=True).model_to_string()

    with pytest.raises(EngineFailed, match="linear models"):
        read_forest(text)


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("leaf_count=", "leaf_number="),  # of all trees
        ("Tree=0\nnum_leaves", "split_feature=0\nTree=0\nnum_leaves"),  # one too many
    ],
)
def test_text_that_lacks_a_line_of_a_tree_is_refused(line: str, instead: str) -> None:
    text = a_booster().model_to_string()

    with pytest.raises(EngineFailed, match="lacks a line"):
        read_forest(text.replace(line, instead))


def test_a_table_for_fewer_features_than_the_trees_ask_is_refused() -> None:
    forest = read_forest(a_booster().model_to_string())

    with pytest.raises(EngineFailed, match="feature 3 of 3"):
        PathTable(forest, 3)


@pytest.mark.parametrize(
    ("child", "said"),
    [
        ("0", "before its parent"),  # round in a circle
        ("-1", "two parents"),  # a leaf that has one already
        ("9999", "not there"),
        ("-9999", "not there"),
    ],
)
def test_children_that_make_no_tree_are_refused(child: str, said: str) -> None:
    text = a_booster().model_to_string()
    start = text.index("left_child=") + len("left_child=")
    end = text.index("\n", start)
    children = text[start:end].split()
    children[next(at for at, old in enumerate(children) if int(old) > 0)] = child
    changed = text[:start] + " ".join(children) + text[end:]

    with pytest.raises(EngineFailed, match=said):
        PathTable(read_forest(changed), 4)
