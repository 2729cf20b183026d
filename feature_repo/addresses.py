"""Where the services of this installation answer: a setting, else what the local stack wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from feature_repo.errors import StoreUnavailable
from feature_repo.settings import Settings

STACK_FILE: Final = "stack.json"
"""Under `settings.state_path`: {"services": {"redis": {"url": ...}, "mlflow": {...}, ...}}."""


def stack_url(settings: Settings, service: str) -> str | None:
    """URL the running local stack wrote for a service, or None when no stack runs."""
    path = settings.state_path / STACK_FILE
    try:
        services = json.loads(path.read_text())["services"]
    except FileNotFoundError:
        return None
    url = services.get(service, {}).get("url")
    return None if url is None else str(url)


def redis_url(settings: Settings) -> str:
    """URL of the online store's Redis.

    Raises:
        StoreUnavailable: neither FORESEND_REDIS_URL is set nor a local stack runs.
    """
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    url = stack_url(settings, "redis")
    if url is None:
        message = (
            f"No Redis: no stack runs for {settings.home} and FORESEND_REDIS_URL is not set. "
            "Start one with `foresend up`, or set FORESEND_REDIS_URL."
        )
        raise StoreUnavailable(message)
    return url


def mlflow_folder(settings: Settings) -> Path:
    """Folder of the embedded MLflow: `mlflow.db` and `artifacts/`."""
    return settings.home.absolute() / "mlflow"


def mlflow_uri(settings: Settings) -> str:
    """Tracking URI: the setting, else the local stack's server, else its database directly."""
    if settings.mlflow_uri is not None:
        return settings.mlflow_uri
    url = stack_url(settings, "mlflow")
    return url if url is not None else f"sqlite:///{mlflow_folder(settings) / 'mlflow.db'}"
