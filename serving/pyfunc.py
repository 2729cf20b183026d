"""How `mlflow.pyfunc` loads a model version: the `loader_module` its MLmodel names.

Imports no MLflow, and nothing is unpickled: the version's `runtime/` folder is all there is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from serving.calibrator import FloatArray
from serving.model import ScoringModel


class PyfuncModel:
    """A scoring model that takes a DataFrame, as MLflow calls it."""

    def __init__(self, model: ScoringModel) -> None:
        self._model = model

    def predict(self, model_input: Any) -> FloatArray:
        """Calibrated probability of each row of a DataFrame; a column it lacks counts as missing.

        MLflow drops optional columns that were not sent, so a missing column is missing values.
        """
        texts = self._model.categorical
        absent = np.full(len(model_input), np.nan)
        columns = {}
        for name in self._model.feature_names:
            values = model_input[name].to_numpy() if name in model_input else absent
            columns[name] = values.astype(object if name in texts else np.float64)
        return self._model.predict(columns)


def _load_pyfunc(path: str) -> PyfuncModel:
    """The model in a folder; the name is MLflow's."""
    return PyfuncModel(ScoringModel.load(Path(path)))
