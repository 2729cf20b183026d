"""The LightGBM candidate: small trees, much regularisation, as many as later rows can bear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import lightgbm
import numpy as np
import numpy.typing as npt

from serving.calibrator import FloatArray
from serving.encoder import Encoder

MOST_TREES: Final = 400
PATIENCE: Final = 50
"""Trees without improvement on the later rows after which a fold stops."""

Labels = npt.NDArray[np.int8]


def parameters(seed: int) -> dict[str, Any]:
    """LightGBM's settings; equal data and seed give equal trees, whatever the threads."""
    return {
        "objective": "binary",
        "learning_rate": 0.05,
        "num_leaves": 7,
        "min_data_in_leaf": 50,
        "lambda_l2": 10.0,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "cat_smooth": 50.0,
        "max_cat_to_onehot": 8,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        # Threads wait for each other at every split: on a busy machine two took five times one.
        "num_threads": 1,
        "verbosity": -1,
    }


def fit_boosted(
    matrix: FloatArray, label: Labels, encoder: Encoder, *, trees: int, seed: int
) -> lightgbm.Booster:
    """A booster of exactly `trees` trees."""
    return lightgbm.train(parameters(seed), _data(matrix, label, encoder), num_boost_round=trees)


def fit_watched(
    matrix: FloatArray,
    label: Labels,
    encoder: Encoder,
    later: tuple[FloatArray, Labels],
    *,
    seed: int,
) -> tuple[lightgbm.Booster, FloatArray]:
    """A booster that stops when the later rows no longer gain, and their log-loss per tree."""
    data = _data(matrix, label, encoder)
    curve: dict[str, Any] = {}
    booster = lightgbm.train(
        parameters(seed),
        data,
        num_boost_round=MOST_TREES,
        valid_sets=[_data(*later, encoder, reference=data)],
        valid_names=["later"],
        callbacks=[
            lightgbm.early_stopping(PATIENCE, verbose=False),
            lightgbm.record_evaluation(curve),
        ],
    )
    return booster, np.asarray(curve["later"]["binary_logloss"], dtype=np.float64)


def best_count(curves: Sequence[FloatArray]) -> int:
    """The number of trees with the least mean loss over the folds.

    >>> best_count([np.array([3.0, 1.0, 2.0]), np.array([3.0, 2.0])])
    2
    """
    shared = min(len(curve) for curve in curves)
    mean = np.mean([curve[:shared] for curve in curves], axis=0)
    return int(np.argmin(mean)) + 1


def _data(
    matrix: FloatArray,
    label: Labels,
    encoder: Encoder,
    reference: lightgbm.Dataset | None = None,
) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        np.ascontiguousarray(matrix),
        label,
        feature_name=list(encoder.features),
        categorical_feature=[name for name in encoder.features if name in encoder.categories],
        reference=reference,
        params={"verbosity": -1, "feature_pre_filter": False},
    )
