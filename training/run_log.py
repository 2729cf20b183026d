"""A training as MLflow runs: parameters, data, metrics and files of one, and a child per candidate.

Every run is found by its tags: `target`, `week` and `foresend.kind` (training, candidate).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from feast import FeatureService
from mlflow.data.delta_dataset_source import DeltaDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Dataset as LoggedDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.types import ColSpec, DataType, Schema
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID

from feature_repo import contract
from training.attributions import Attributions, draw_importance, draw_summary
from training.card import model_card
from training.dataset import Dataset
from training.learning import Trial
from training.pictures import (
    draw_calibration,
    draw_lift,
    draw_precision_recall,
    draw_roc,
    draw_scores,
)
from training.registry import Registry
from training.result import Prepared, Trained
from training.trail import KIND

DIGEST_LENGTH: Final = 36
"""Characters of a dataset's digest in MLflow; the whole SHA-256 is a tag and a parameter."""


@contextmanager
def open_run(registry: Registry, prepared: Prepared) -> Iterator[str]:
    """A run that ends FINISHED, or FAILED when something inside fails."""
    name = f"{prepared.decided.target.name} {prepared.week}"
    run = registry.client.create_run(registry.experiment_id(), run_name=name, tags=prepared.tags())
    run_id = str(run.info.run_id)
    status = "FAILED"
    try:
        yield run_id
        status = "FINISHED"
    finally:
        registry.client.set_terminated(run_id, status)


def log_origin(registry: Registry, prepared: Prepared, run_id: str, folder: Path) -> None:
    """The data of a run and the audit of it."""
    digest = prepared.dataset_sha256[:DIGEST_LENGTH]
    test = prepared.test
    registry.client.log_inputs(
        run_id,
        [
            _input(prepared, "training", digest, prepared.dataset),
            _input(prepared, "test", test.sha256()[:DIGEST_LENGTH], test),
        ],
    )
    folder.mkdir(exist_ok=True)
    (folder / "audit.html").write_text(prepared.audit.to_html())
    _write(folder, "audit.json", prepared.audit.as_dict())
    _write(folder, "target.json", prepared.decided.target.to_declaration())
    _write(folder, "folds.json", prepared.split.describe(prepared.dataset.at_us))
    _write(folder, "feature_tables.json", prepared.feature_tables)


def _input(prepared: Prepared, context: str, digest: str, rows: Dataset) -> DatasetInput:
    """Rows under our own digest: MLflow's would look at the first ten thousand alone."""
    name = f"{prepared.decided.target.name} {prepared.week} {context}"
    columns = [
        ColSpec(
            DataType.string if key in contract.TEXT_FEATURES else DataType.double,
            key,
            required=False,
        )
        for key in rows.columns
    ]
    source = DeltaDatasetSource(
        path=str(prepared.log_path), delta_table_version=prepared.decided.snapshot.version
    )
    described = MetaDataset(source, name=name, digest=digest, schema=Schema(columns)).to_dict()
    profile = {"rows": len(rows), "positives": rows.positives}
    logged = LoggedDataset(
        name=described["name"],
        digest=described["digest"],
        source_type=described["source_type"],
        source=described["source"],
        schema=described["schema"],
        profile=json.dumps(profile),
    )
    return DatasetInput(logged, [InputTag(MLFLOW_DATASET_CONTEXT, context)])


def log_candidates(registry: Registry, trained: Trained, run_id: str) -> None:
    """A child run per candidate, with its setting and its metrics on the folds."""
    prepared = trained.prepared
    for trial in trained.judged.trials:
        tags = {
            MLFLOW_PARENT_RUN_ID: run_id,
            KIND: "candidate",
            "target": prepared.decided.target.name,
            "week": prepared.week,
            "candidate": trial.name,
            "is_chosen": str(trial is trained.judged.chosen).lower(),
        }
        name = f"{prepared.decided.target.name} {prepared.week} {trial.name}"
        child = registry.client.create_run(registry.experiment_id(), run_name=name, tags=tags)
        child_id = str(child.info.run_id)
        registry.client.log_batch(
            child_id,
            metrics=_fold_metrics(trial, int(child.info.start_time)),
            params=[Param(key, str(value)) for key, value in trial.setting.items()],
        )
        registry.client.set_terminated(child_id, "FINISHED")


def _fold_metrics(trial: Trial, at: int, prefix: str = "") -> list[Metric]:
    """The step of a fold's metric is its number."""
    return [
        Metric(prefix + name, value, at, number)
        for number, pair in enumerate(zip(trial.losses, trial.aucs, strict=True))
        for name, value in zip(("fold_log_loss", "fold_auc"), pair, strict=True)
    ]


def log_numbers(registry: Registry, trained: Trained, run_id: str, model_id: str) -> None:
    """Parameters, tags and metrics. The model's own metrics name it and the rows they are of."""
    run = registry.client.get_run(run_id)
    at = int(run.info.start_time)
    rows = next(
        logged.dataset
        for logged in run.inputs.dataset_inputs
        if any(tag.value == "test" for tag in logged.tags)
    )
    metrics = [
        Metric(name, value, at, 0, model_id, rows.name, rows.digest)
        for name, value in _own_metrics(trained)
    ]
    metrics += [Metric(name, value, at, 0) for name, value in _other_metrics(trained)]
    for trial in trained.judged.trials:
        metrics += _fold_metrics(trial, at, f"{trial.name}.")
    registry.client.log_batch(
        run_id,
        metrics=metrics,
        params=[Param(name, str(value)) for name, value in trained.parameters().items()],
        tags=[RunTag(name, value) for name, value in trained.tags().items()],
    )


def _own_metrics(trained: Trained) -> Iterator[tuple[str, float]]:
    judged = trained.judged
    yield from judged.evaluation.as_dict().items()
    for name, bounds in judged.intervals.items():
        yield from zip((f"{name}.lo", f"{name}.hi"), bounds, strict=True)
    yield from trained.gates.metrics()


def _other_metrics(trained: Trained) -> Iterator[tuple[str, float]]:
    judged = trained.judged
    for prefix, evaluation in (
        ("baseline_", judged.baseline),
        ("uncalibrated_", judged.uncalibrated),
    ):
        for name, value in evaluation.as_dict().items():
            yield prefix + name, value
    for name, count in trained.prepared.counts().items():
        yield name, float(count)


def write_files(
    trained: Trained, service: FeatureService, found: Attributions, folder: Path
) -> None:
    """The card, the gates and the pictures."""
    judged, test = trained.judged, trained.test
    title = f"Gates of {trained.decided.target.name} {trained.prepared.week}"
    (folder / "model_card.md").write_text(model_card(trained) + "\n")
    (folder / "gates.html").write_text(trained.gates.to_html(title))
    _write(folder, "gates.json", trained.gates.as_dict())
    _write(folder, "importance.json", dict(found.importance()))
    _write(folder, "feature_service.json", _service(service))
    scores = {"model": judged.score, "baseline": judged.baseline_score}
    for name, draw in _CURVES.items():
        draw(folder / name, scores, test.label, test.weight)
    draw_scores(folder / "scores.png", judged.score, test.label)
    draw_importance(folder / "importance.png", found.importance())
    draw_summary(folder / "contributions.png", found)


_CURVES: Final = {
    "roc.png": draw_roc,
    "precision_recall.png": draw_precision_recall,
    "calibration.png": draw_calibration,
    "lift.png": draw_lift,
}


def _service(service: FeatureService) -> Mapping[str, Any]:
    return {
        "name": service.name,
        "views": {
            projection.name: [feature.name for feature in projection.features]
            for projection in service.feature_view_projections
        },
    }


def _write(folder: Path, name: str, document: Any) -> None:
    (folder / name).write_text(json.dumps(document, indent=1))
