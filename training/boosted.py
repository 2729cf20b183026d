"""The LightGBM candidate: small trees, much regularisation, as many as later rows can bear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import lightgbm
import numpy as np

from serving.calibrator import FloatArray
from serving.encoder import Encoder
from serving.trees import LightGbm
from training.learning import Later, Watched
from training.weighting import Labels, or_none

MOST_TREES: Final = 400
PATIENCE: Final = 50
"""Trees without improvement on the later rows after which a fold stops."""

DEFAULTS: Final[Mapping[str, float]] = {
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 50,
    "lambda_l2": 10.0,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.8,
}
"""What a search may change."""


def fit_boosted(
    matrix: FloatArray,
    label: Labels,
    encoder: Encoder,
    *,
    trees: int,
    seed: int,
    setting: Mapping[str, float] = DEFAULTS,
    weight: FloatArray | None = None,
    signs: Mapping[str, int] | None = None,
) -> LightGbm:
    """A booster of exactly `trees` trees."""
    booster = lightgbm.train(
        _parameters(setting, encoder, signs or {}, seed),
        _data(matrix, label, encoder, weight),
        num_boost_round=trees,
    )
    return LightGbm(booster)


def watch_boosted(
    matrix: FloatArray,
    label: Labels,
    encoder: Encoder,
    later: Later,
    *,
    seed: int,
    setting: Mapping[str, float] = DEFAULTS,
    weight: FloatArray | None = None,
    signs: Mapping[str, int] | None = None,
) -> Watched:
    """A booster that stops when the later rows no longer gain, and their log-loss per tree."""
    data = _data(matrix, label, encoder, weight)
    curve: dict[str, Any] = {}
    booster = lightgbm.train(
        _parameters(setting, encoder, signs or {}, seed),
        data,
        num_boost_round=MOST_TREES,
        valid_sets=[_data(later.matrix, later.label, encoder, later.weight, reference=data)],
        valid_names=["later"],
        # Else the trees after this fold's best are thrown away, and the folds together want them.
        keep_training_booster=True,
        callbacks=[
            lightgbm.early_stopping(PATIENCE, verbose=False),
            lightgbm.record_evaluation(curve),
        ],
    )

    def margin(trees: int) -> FloatArray:
        rows = np.ascontiguousarray(later.matrix)
        return np.asarray(
            booster.predict(rows, raw_score=True, num_iteration=trees), dtype=np.float64
        )

    return Watched(np.asarray(curve["later"]["binary_logloss"], dtype=np.float64), margin)


def _parameters(
    setting: Mapping[str, float], encoder: Encoder, signs: Mapping[str, int], seed: int
) -> dict[str, Any]:
    """LightGBM's settings; equal data and seed give equal trees, whatever the threads."""
    constrained = (
        {"monotone_constraints": [signs.get(name, 0) for name in encoder.features]} if signs else {}
    )
    return {
        "objective": "binary",
        **setting,
        "bagging_freq": 1,
        "cat_smooth": 50.0,
        "max_cat_to_onehot": 8,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        # Threads wait for each other at every split: on a busy machine two took five times one.
        "num_threads": 1,
        "verbosity": -1,
        **constrained,
    }


def best_count(curves: Sequence[FloatArray], rows: Sequence[int]) -> int:
    """The number of trees with the least mean loss over the folds.

    A fold counts by the rows it was fitted on: the fit that is used has more than any, and more
    rows bear more trees.

    >>> best_count([np.array([3.0, 1.0, 2.0]), np.array([3.0, 2.0])], [100, 100])
    2
    """
    shared = min(len(curve) for curve in curves)
    mean = np.average([curve[:shared] for curve in curves], axis=0, weights=rows)
    return int(np.argmin(mean)) + 1


def _data(
    matrix: FloatArray,
    label: Labels,
    encoder: Encoder,
    weight: FloatArray | None,
    reference: lightgbm.Dataset | None = None,
) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        np.ascontiguousarray(matrix),
        label,
        weight=or_none(weight),
        feature_name=list(encoder.features),
        categorical_feature=[name for name in encoder.features if name in encoder.categories],
        reference=reference,
        params={"verbosity": -1, "feature_pre_filter": False},
    )
