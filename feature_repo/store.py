"""Feast's FeatureStore over this installation's settings."""

from __future__ import annotations

import warnings
from pathlib import Path
from string import Template
from typing import Final

import yaml
from feast import FeatureStore, RepoConfig
from feast.errors import FeatureServiceNotFoundException

from feature_repo import addresses, contract
from feature_repo.definitions import definitions
from feature_repo.errors import StoreUnavailable
from feature_repo.settings import Settings

REPO: Final = Path(__file__).parent

_NO_REDIS: Final = "redis://no-redis-runs-here.invalid:6379/0"
"""Stands in where none is known: history and registry work, an online read says what is missing."""


def environment(settings: Settings) -> dict[str, str]:
    """The variables that feature_store.yaml names; export them to use the `feast` command."""
    return {
        "FORESEND_PROJECT": settings.project,
        "FORESEND_HOME": str(settings.home.absolute()),
        "FORESEND_REGISTRY_URL": settings.resolved_registry_url,
        "FORESEND_REDIS_URL": _redis_url(settings),
        "FORESEND_DUCKDB_MEMORY_LIMIT": settings.duckdb_memory_limit,
        "FORESEND_DUCKDB_THREADS": str(settings.duckdb_threads),
    }


def open_store(settings: Settings) -> FeatureStore:
    """The feature store; definitions are applied first when the registry has none."""
    store = _bare_store(settings)
    try:
        store.get_feature_service(contract.FEATURE_SERVICE)
    except FeatureServiceNotFoundException:
        _register(settings, store)
    return store


def apply(settings: Settings) -> None:
    """Write today's definitions to the registry, as `feast apply` does. Idempotent."""
    _register(settings, _bare_store(settings))


def _bare_store(settings: Settings) -> FeatureStore:
    settings.state_path.mkdir(parents=True, exist_ok=True)
    text = Template((REPO / "feature_store.yaml").read_text()).substitute(environment(settings))
    return FeatureStore(config=RepoConfig(**yaml.safe_load(text), repo_path=REPO))


def _register(settings: Settings, store: FeatureStore) -> None:
    with warnings.catch_warnings():
        # Told at every apply; ours are plain numpy over whole columns.
        warnings.filterwarnings("ignore", message="On demand feature view is an experimental")
        store.apply([*definitions(settings)])


def _redis_url(settings: Settings) -> str:
    try:
        return addresses.redis_url(settings)
    except StoreUnavailable:
        return _NO_REDIS
