"""The released model version of a target, read from MLflow."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import httpx
import mlflow
from mlflow.exceptions import MlflowException

from feature_repo.addresses import mlflow_uri
from feature_repo.errors import StoreUnavailable
from feature_repo.settings import Settings
from monitoring.errors import NoChampion, NoLaunchProfile
from monitoring.launch import PROFILE_FILE, Launch, launch_from

CHAMPION: Final = "champion"

_LAUNCH_FOLDER: Final = PROFILE_FILE.split("/")[0]
_MISSING: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
_TIMEOUT_S: Final = 5.0


def read_champion(settings: Settings, target: str) -> Launch:
    """The champion of a target with its launch profile and sample.

    Raises:
        StoreUnavailable: MLflow does not answer.
        NoChampion: the target has no model version with the alias.
        NoLaunchProfile: that version carries no profile, or one that cannot be read.
    """
    uri = mlflow_uri(settings)
    _reachable(uri)
    version, source = _released(uri, target)
    with tempfile.TemporaryDirectory(prefix="foresend-launch-") as folder:
        try:
            mlflow.artifacts.download_artifacts(
                artifact_uri=f"{source.rstrip('/')}/{_LAUNCH_FOLDER}",
                dst_path=folder,
                tracking_uri=uri,
            )
        except (MlflowException, OSError) as exc:
            message = (
                f"Champion version {version} of {target!r} has no {_LAUNCH_FOLDER}/ among its "
                f"artifacts at {source}: {exc}. Train and promote a new version."
            )
            raise NoLaunchProfile(message) from exc
        return launch_from(Path(folder), target, version)


def _released(uri: str, target: str) -> tuple[str, str]:
    """Version and artifact URI of the champion."""
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    try:
        version = str(client.get_model_version_by_alias(target, CHAMPION).version)
        source = str(client.get_model_version_download_uri(target, version))
    except MlflowException as exc:
        if exc.error_code not in _MISSING:
            raise _unavailable(uri, exc) from exc
        message = (
            f"Target {target!r} has no champion in MLflow at {uri}. Train one with "
            f"`foresend train {target}`, or promote a version with "
            f"`foresend models promote {target} VERSION`."
        )
        raise NoChampion(message) from exc
    if source.startswith("mlflow-artifacts:") and not _is_server(uri):
        message = (
            f"Champion version {version} of {target!r} was logged through an MLflow server, and "
            "none runs. Start the stack with `foresend up`, or set FORESEND_MLFLOW_URI."
        )
        raise StoreUnavailable(message)
    return version, source


def _reachable(uri: str) -> None:
    """Ask once, with a short timeout: MLflow's own client retries for minutes."""
    if not _is_server(uri):
        path = Path(uri.removeprefix("sqlite:///"))
        if uri.startswith("sqlite:///") and not path.exists():
            message = (
                f"No MLflow database at {path}: nothing was trained here. Run `foresend train`, "
                "or set FORESEND_MLFLOW_URI."
            )
            raise StoreUnavailable(message)
        return
    try:
        httpx.get(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT_S).raise_for_status()
    except httpx.HTTPError as exc:
        raise _unavailable(uri, exc) from exc


def _unavailable(uri: str, exc: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"MLflow does not answer at {uri}: {exc}. Start the stack with `foresend up`, or set "
        "FORESEND_MLFLOW_URI."
    )


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))
