"""What a training must be able to say of where it came from, beside its rows."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from deltalake import DeltaTable

from feature_repo.config import Config
from feature_repo.settings import Settings

PACKAGES: Final = (
    "foresend",
    "numpy",
    "scikit-learn",
    "lightgbm",
    "xgboost-cpu",
    "feast",
    "duckdb",
    "mlflow",
)
"""Packages whose version can change a metric."""

NONE: Final = "none"


def provenance(settings: Settings, config: Config) -> Mapping[str, str]:
    """Parameters of a run: declarations, placement estimates, Python and packages."""
    return {
        "config.path": str(config.path),
        "config.sha256": hashlib.sha256(config.path.read_bytes()).hexdigest(),
        "estimates.version": _estimates(settings),
        "python": platform.python_version(),
        **{f"package.{name}": package_version(name) for name in PACKAGES},
    }


def _estimates(settings: Settings) -> str:
    """Delta version of the placement estimates."""
    path = str(settings.deliverability_path / "estimates")
    return str(DeltaTable(path).version()) if DeltaTable.is_deltatable(path) else NONE


def package_version(name: str) -> str:
    """The installed version, NONE when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return NONE
