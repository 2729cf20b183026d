"""A training result as a registered version of its target's model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from feast import FeatureService
from mlflow.entities import LoggedModelOutput, Param, RunTag
from mlflow.exceptions import MlflowException

from training import trail
from training.attributions import attributions
from training.card import model_card
from training.gates.report import joined
from training.gates.sanity import audit_row
from training.package import write_launch, write_runtime
from training.promoting import note_alias_changes, promote
from training.promotion import Mode, Promotion
from training.registry import CHALLENGER, CHAMPION, Registry
from training.result import Prepared, Trained
from training.run_log import log_candidates, log_numbers, log_origin, open_run, write_files

TRAINING: Final = "foresend train"
"""Who promotes when no person does."""

_ALREADY: Final = "RESOURCE_ALREADY_EXISTS"

Clock = Callable[[], datetime]


def register(
    registry: Registry,
    trained: Trained,
    service: FeatureService,
    *,
    promotion: Promotion,
    clock: Clock,
) -> dict[str, Any]:
    """Log the run, register its model and set its alias; returns the summary.

    The version appears when all of it is stored. The first version that passes becomes champion,
    later ones challenger, or champion when promotion is automatic and no gate asks for a person;
    one that failed, or could not be told, gets no alias.
    """
    with registry.answering(), open_run(registry, trained.prepared) as run_id:
        with tempfile.TemporaryDirectory(prefix="foresend-train-") as name:
            folder = Path(name) / "run"
            log_origin(registry, trained.prepared, run_id, folder)
            log_candidates(registry, trained, run_id)
            model_id = _log_model(registry, trained, run_id, Path(name) / "version")
            log_numbers(registry, trained, run_id, model_id)
            found = attributions(trained.judged.model, trained.test, trained.seed)
            write_files(trained, service, found, folder)
            registry.client.log_artifacts(run_id, str(folder))
        version = _create_version(registry, trained, run_id, model_id)
    # The training is done: what happens to aliases does not make its run a failed one.
    aliases = _set_aliases(registry, trained, version, promotion, clock)
    return trained.summary(version, run_id, aliases)


def refuse(registry: Registry, prepared: Prepared) -> str:
    """Log a run whose rows leak, as FAILED; no version is registered. Returns the run's id."""
    gates = joined([audit_row(prepared.audit)])
    with registry.answering(), open_run(registry, prepared) as run_id:
        with tempfile.TemporaryDirectory(prefix="foresend-train-") as name:
            folder = Path(name) / "run"
            log_origin(registry, prepared, run_id, folder)
            title = f"Gates of {prepared.decided.target.name} {prepared.week}"
            (folder / "gates.html").write_text(gates.to_html(title))
            registry.client.log_artifacts(run_id, str(folder))
        registry.client.log_dict(run_id, gates.as_dict(), "gates.json")
        failed = {"gate.status": gates.status, "gate.failures": "; ".join(gates.failures)}
        registry.client.log_batch(
            run_id,
            params=[Param(key, str(value)) for key, value in prepared.parameters().items()],
            tags=[RunTag(key, value) for key, value in failed.items()],
        )
    with registry.answering():
        registry.client.set_terminated(run_id, "FAILED")
    return run_id


def _log_model(registry: Registry, trained: Trained, run_id: str, folder: Path) -> str:
    client, target = registry.client, trained.decided.target.name
    logged = client.create_logged_model(
        registry.experiment_id(),
        name=target,
        source_run_id=run_id,
        tags=trained.tags(),
        model_type=trained.judged.model.estimator_kind,
    )
    folder.mkdir()
    write_runtime(folder, trained.judged.model, logged.model_id, run_id)
    began = int(client.get_run(run_id).info.start_time)
    created_at = datetime.fromtimestamp(began / 1000, UTC)
    write_launch(folder, trained.test, trained.judged.score, created_at, trained.seed)
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return str(logged.model_id)


def _create_version(registry: Registry, trained: Trained, run_id: str, model_id: str) -> str:
    client, target = registry.client, trained.decided.target
    words = ", ".join(f"{key}: {value}" for key, value in target.to_declaration().items())
    try:
        client.create_registered_model(target.name, description=f"Target `{{{words}}}`.")
    except MlflowException as exc:
        if exc.error_code != _ALREADY:
            raise
    version = client.create_model_version(
        target.name,
        source=f"models:/{model_id}",
        run_id=run_id,
        tags=trained.tags(),
        description=model_card(trained),
        model_id=model_id,
        await_creation_for=0,
    )
    return str(version.version)


def _set_aliases(
    registry: Registry, trained: Trained, version: str, promotion: Promotion, clock: Clock
) -> list[str]:
    """The aliases the version has in the end.

    It becomes champion by itself only in place of the one it was compared with, or where there
    never was one: whom a person promoted or removed meanwhile is not overruled.
    """
    target = trained.decided.target.name
    note_alias_changes(registry, clock, [target])
    if trained.gates.passed:
        now = registry.aliases(target).get(CHAMPION)
        compared = trained.champion.version if trained.champion else None
        is_first = now is None and not trail.history(registry, target)
        is_free = promotion.mode is Mode.AUTO and not trained.gates.asks
        if not is_first:
            with registry.answering():
                registry.set_alias(target, CHALLENGER, version)
        if is_first or (is_free and now is not None and now == compared):
            promote(
                registry,
                target,
                version,
                by=TRAINING,
                clock=clock,
                reason="the first that passed" if is_first else "all gates passed",
                action="first" if is_first else "automatic",
                over=frozenset({now}),
            )
    named = registry.aliases(target)
    return [alias for alias in _ORDER if named.get(alias) == version]


_ORDER: Final = ("launch", "champion", "challenger")
