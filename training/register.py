"""A training result as an MLflow run and a registered version."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from feast import FeatureService
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from training.package import write_launch, write_runtime
from training.pictures import draw_calibration, draw_importance, draw_scores, importance_of
from training.registry import CHALLENGER, CHAMPION, LAUNCH, Registry
from training.result import Trained

_ALREADY: Final = "RESOURCE_ALREADY_EXISTS"


def register(registry: Registry, trained: Trained, service: FeatureService) -> dict[str, Any]:
    """Log the run, register its model and set its alias; returns the summary.

    The version appears when all of it is stored. The first version that passes becomes champion,
    later ones challenger; one that failed its gate gets no alias.
    """
    with registry.answering(), _run(registry, trained) as run_id:
        folder = tempfile.TemporaryDirectory(prefix="foresend-train-")
        with folder as name:
            _log_run(registry, trained, run_id, Path(name) / "run", service)
            version = _log_version(registry, trained, run_id, Path(name) / "version")
        aliases = _set_aliases(registry, trained, version)
    return trained.summary(version, run_id, aliases)


@contextmanager
def _run(registry: Registry, trained: Trained) -> Iterator[str]:
    """A run that ends FINISHED, or FAILED when something inside fails."""
    target = trained.decided.target.name
    run = registry.client.create_run(registry.experiment_id(), run_name=target)
    run_id = str(run.info.run_id)
    status = "FAILED"
    try:
        yield run_id
        status = "FINISHED"
    finally:
        registry.client.set_terminated(run_id, status)


def _log_run(
    registry: Registry, trained: Trained, run_id: str, folder: Path, service: FeatureService
) -> None:
    folder.mkdir()
    registry.client.log_batch(
        run_id,
        metrics=[
            Metric(name, value, _now_ms(registry, run_id), step)
            for name, value, step in _metrics(trained)
        ],
        params=[Param(name, str(value)) for name, value in trained.parameters().items()],
        tags=[RunTag(name, value) for name, value in trained.tags().items()],
    )
    for name, document in _documents(trained, service).items():
        (folder / name).write_text(json.dumps(document, indent=1))
    judged, test = trained.judged, trained.test
    draw_calibration(folder / "calibration.png", judged.score, judged.baseline_score, test.label)
    draw_scores(folder / "scores.png", judged.score, test.label)
    draw_importance(folder / "importance.png", importance_of(judged.model))
    registry.client.log_artifacts(run_id, str(folder))


def _documents(trained: Trained, service: FeatureService) -> Mapping[str, Any]:
    """The long things, one file each."""
    return {
        "target.json": trained.decided.target.to_declaration(),
        "folds.json": trained.split.describe(trained.dataset.at_us),
        "gate.json": trained.gate.as_dict(),
        "importance.json": dict(importance_of(trained.judged.model)),
        "feature_tables.json": trained.feature_tables,
        "feature_service.json": {
            "name": service.name,
            "views": {
                projection.name: [feature.name for feature in projection.features]
                for projection in service.feature_view_projections
            },
        },
    }


def _metrics(trained: Trained) -> Iterator[tuple[str, float, int]]:
    """Name, value and step of every metric; the step of a fold's metric is its number."""
    judged = trained.judged
    for prefix, evaluation in (
        ("", judged.evaluation),
        ("baseline_", judged.baseline),
        ("uncalibrated_", judged.uncalibrated),
    ):
        for name, value in evaluation.as_dict().items():
            yield prefix + name, value, 0
    for name, count in trained.counts().items():
        yield name, float(count), 0
    for trial in judged.trials:
        for number, (loss, auc) in enumerate(zip(trial.losses, trial.aucs, strict=True)):
            yield f"{trial.name}.fold_log_loss", loss, number
            yield f"{trial.name}.fold_auc", auc, number


def _log_version(registry: Registry, trained: Trained, run_id: str, folder: Path) -> str:
    client, target = registry.client, trained.decided.target.name
    logged = client.create_logged_model(
        registry.experiment_id(), name=target, source_run_id=run_id, tags=trained.tags()
    )
    folder.mkdir()
    write_runtime(folder, trained.judged.model, logged.model_id, run_id)
    created_at = datetime.fromtimestamp(_now_ms(registry, run_id) / 1000, UTC)
    write_launch(folder, trained.test, trained.judged.score, created_at, trained.seed)
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    try:
        client.create_registered_model(target)
    except MlflowException as exc:
        if exc.error_code != _ALREADY:
            raise
    version = client.create_model_version(
        target,
        source=f"models:/{logged.model_id}",
        run_id=run_id,
        tags=trained.tags(),
        model_id=logged.model_id,
        await_creation_for=0,
    )
    return str(version.version)


def _set_aliases(registry: Registry, trained: Trained, version: str) -> list[str]:
    if not trained.gate.passed:
        return []
    target = trained.decided.target.name
    is_first = CHAMPION not in registry.aliases(target)
    # Champion last: whoever follows it finds the others in place.
    aliases = [LAUNCH, CHAMPION] if is_first else [CHALLENGER]
    for alias in aliases:
        registry.set_alias(target, alias, version)
    return aliases


def _now_ms(registry: Registry, run_id: str) -> int:
    """When the run began, by MLflow's clock."""
    return int(registry.client.get_run(run_id).info.start_time)
