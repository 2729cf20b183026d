"""The MLflow of this installation: a server, or its database without one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.environment_variables import (
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT,
)
from mlflow.exceptions import MlflowException

from feature_repo.addresses import mlflow_folder, mlflow_uri
from feature_repo.errors import StoreUnavailable, UnusableInput
from feature_repo.settings import Settings
from feature_repo.sole import only_one

EXPERIMENT: Final = "foresend"

CHAMPION: Final = "champion"
"""The version that is served."""

CHALLENGER: Final = "challenger"
"""The newest version that passed and is not served."""

LAUNCH: Final = "launch"
"""The version whose launch profile drift is measured from."""

PREVIOUS: Final = "champion_previous"
"""The version that was served before, for the way back: MLflow keeps no history of aliases."""

_TIMEOUT_S: Final = 5.0
_PATIENCE_S: Final = 60.0
_ABSENT: Final = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True, slots=True)
class Registry:
    """An MLflow that answered, and the aliases of a target's versions."""

    settings: Settings
    client: MlflowClient
    uri: str
    #: None: the MLflow server decides where artifacts lie.
    artifact_location: str | None

    def experiment_id(self) -> str:
        """The experiment all runs are in, made when it is missing."""
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        location = self.artifact_location
        return str(self.client.create_experiment(EXPERIMENT, artifact_location=location))

    def aliases(self, target: str) -> dict[str, str]:
        """Version number by alias; empty when the target has no model."""
        with self.answering():
            try:
                return {
                    alias: str(version)
                    for alias, version in self.client.get_registered_model(target).aliases.items()
                }
            except MlflowException as exc:
                if exc.error_code == _ABSENT:
                    return {}
                raise

    def versions(self, target: str) -> list[ModelVersion]:
        """Every version of a target, newest first."""
        with self.answering():
            found = self.client.search_model_versions(f"name = '{target}'")
        return sorted(found, key=lambda version: -int(version.version))

    def targets(self) -> list[str]:
        """Every target that has a model."""
        with self.answering():
            return sorted(model.name for model in self.client.search_registered_models())

    def metrics(self, run_id: str | None) -> dict[str, float]:
        """Metrics of a run, empty when it was deleted."""
        if not run_id:
            return {}
        try:
            return dict(self.client.get_run(run_id).data.metrics)
        except MlflowException as exc:
            if exc.error_code == _ABSENT:
                return {}
            raise

    def set_alias(self, target: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        self.client.set_registered_model_alias(target, alias, version)

    def version(self, target: str, number: str) -> ModelVersion:
        """A version of a target.

        Raises:
            UnusableInput: the target has no such version.
        """
        for found in (versions := self.versions(target)):
            if str(found.version) == number:
                return found
        known = ", ".join(str(found.version) for found in versions)
        message = (
            f"{target!r} has no version {number!r}; "
            f"{'it has ' + known if known else 'nothing was trained yet'}. "
            f"See `foresend models list`; train one with `foresend train {target}`."
        )
        raise UnusableInput(message)

    def moving(self) -> AbstractContextManager[None]:
        """No other process of this installation moves aliases meanwhile.

        Raises:
            StoreUnavailable: one does, and is not done within a minute.
        """
        return only_one(self.settings, "promotion", wait_s=_PATIENCE_S)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn MLflow's failures into one sentence.

        Raises:
            StoreUnavailable: MLflow did not answer, or refused.
        """
        try:
            yield
        except MlflowException as exc:
            raise _unavailable(self.uri, exc) from exc


def open_registry(settings: Settings) -> Registry:
    """The MLflow of the settings, asked once whether it answers.

    Raises:
        StoreUnavailable: it does not.
    """
    uri = mlflow_uri(settings)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A bar per file, on the terminal of whoever runs a command.
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    # Two lines per run, on the output whose last line is the result.
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)
    # Its own default is seven tries over minutes.
    MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(2)
    MLFLOW_HTTP_REQUEST_TIMEOUT.set(30)
    if uri.startswith(("http://", "https://")):
        _ask(uri)
    else:
        mlflow_folder(settings).mkdir(parents=True, exist_ok=True)
    location = None
    if settings.mlflow_uri is None:
        # A plain path works with the server and without it: the server reads it for others.
        location = (mlflow_folder(settings) / "artifacts" / EXPERIMENT).as_uri()
    # A version whose source is `models:/<id>` is looked up where this says, whatever the client's.
    mlflow.set_tracking_uri(uri)
    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    except MlflowException as exc:
        raise _unavailable(uri, exc) from exc
    return Registry(settings, client, uri, location)


def _ask(uri: str) -> None:
    try:
        httpx.get(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT_S).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise _unavailable(uri, exc) from exc


def _unavailable(uri: str, exc: Any) -> StoreUnavailable:
    return StoreUnavailable(
        f"MLflow does not answer at {uri}: {exc}. Start the stack with `foresend up`, or set "
        "FORESEND_MLFLOW_URI."
    )
