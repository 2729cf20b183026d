"""The folder a model version is: for serving to load, drift to be measured from, MLflow to read.

MLmodel, requirements.txt     so that `mlflow.pyfunc` can load it
runtime/                      serving/model.py
launch/profile.json           histograms of the test rows' features and scores
launch/sample.parquet         some of those rows, for pictures
"""

from __future__ import annotations

import json
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import mlflow.pyfunc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from feature_repo import contract
from serving.calibrator import FloatArray
from serving.model import ScoringModel
from serving.profile import launch_profile
from training.dataset import Dataset

SAMPLE_ROWS: Final = 10_000
RUNTIME: Final = "runtime"
LAUNCH: Final = "launch"
REQUIREMENTS: Final = ("foresend", "lightgbm", "numpy")


def write_runtime(folder: Path, model: ScoringModel, model_id: str, run_id: str) -> None:
    """Write what loads and scores."""
    model.save(folder / RUNTIME)
    described = Model(signature=signature_of(model), model_id=model_id, run_id=run_id)
    mlflow.pyfunc.add_to_model(described, loader_module="serving.pyfunc", data=RUNTIME)
    described.save(str(folder / "MLmodel"))
    lines = [f"{name}=={version(name)}" for name in REQUIREMENTS]
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n")


def write_launch(
    folder: Path, test: Dataset, score: FloatArray, created_at: datetime, seed: int
) -> None:
    """Write the profile of the test rows, and a sample of them."""
    launch = folder / LAUNCH
    launch.mkdir(parents=True, exist_ok=True)
    customers = len(set(test.customer.tolist()))
    profile = launch_profile(test.columns, score, customers=customers, created_at=created_at)
    (launch / "profile.json").write_text(json.dumps(profile))
    random = np.random.default_rng(seed)
    rows = random.permutation(len(test))[:SAMPLE_ROWS]
    sample = {
        name: pa.array(values[rows], pa.string() if name in contract.TEXT_FEATURES else None)
        for name, values in test.columns.items()
    }
    pq.write_table(pa.table(sample | {"score": score[rows]}), launch / "sample.parquet")


def signature_of(model: ScoringModel) -> ModelSignature:
    """Every feature by name, all optional: a sample's types would say which happened to be null."""
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(
                    DataType.string if name in model.categorical else DataType.double,
                    name,
                    required=False,
                )
                for name in model.feature_names
            ]
        ),
        outputs=Schema([ColSpec(DataType.double, "score")]),
    )
