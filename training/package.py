"""The folder a model version is: for serving to load, drift to be measured from, MLflow to read.

MLmodel, requirements.txt     so that `mlflow.pyfunc` can load it
input_example.json            a few rows, as a person sees them in MLflow
serving_input_example.json    the same rows, as MLflow's own server takes them
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
REQUIREMENTS: Final = ("foresend", "lightgbm", "numpy", "xgboost-cpu")
EXAMPLE: Final = "input_example.json"
SERVING_EXAMPLE: Final = "serving_input_example.json"
EXAMPLE_ROWS: Final = 5


def write_runtime(folder: Path, model: ScoringModel, model_id: str, run_id: str) -> None:
    """Write what loads and scores."""
    model.save(folder / RUNTIME)
    described = Model(
        signature=signature_of(model),
        model_id=model_id,
        run_id=run_id,
        saved_input_example_info=_write_example(folder, model),
    )
    mlflow.pyfunc.add_to_model(described, loader_module="serving.pyfunc", data=RUNTIME)
    described.save(str(folder / "MLmodel"))
    lines = [f"{name}=={version(name)}" for name in REQUIREMENTS]
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n")


def _write_example(folder: Path, model: ScoringModel) -> dict[str, str]:
    """The first of the model's own examples; returns how MLflow finds them.

    By hand: MLflow's way from a DataFrame infers types again, and scores the rows once more.
    """
    columns = model.examples["columns"]
    rows = [list(row) for row in zip(*columns.values(), strict=True)][:EXAMPLE_ROWS]
    table = {"columns": list(columns), "data": rows}
    (folder / EXAMPLE).write_text(json.dumps(table))
    (folder / SERVING_EXAMPLE).write_text(json.dumps({"dataframe_split": table}, indent=1))
    return {
        "artifact_path": EXAMPLE,
        "type": "dataframe",
        "pandas_orient": "split",
        "serving_input_path": SERVING_EXAMPLE,
    }


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
    _, customer = np.unique(test.customer.astype(str), return_inverse=True)
    judged = {
        "score": score[rows],
        "label": test.label[rows],
        "weight": test.weight[rows],
        # A number, not an id: it tells which rows are of one person, not who it is.
        "customer": customer[rows],
    }
    pq.write_table(pa.table(sample | judged), launch / "sample.parquet")


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
