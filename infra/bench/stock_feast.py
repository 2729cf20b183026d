"""Feast as it comes, over the same features: the baseline of the store benchmarks."""

from __future__ import annotations

import warnings
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq
from deltalake import DeltaTable
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import String

from feature_repo import contract
from feature_repo.settings import Settings
from feature_repo.views import FOREVER, field


def stock_store(settings: Settings, redis_url: str) -> FeatureStore:
    """Feast's DuckDB and Redis stores with their defaults, over Parquet copies of the tables.

    Parquet, because Feast reads Delta by an extension that DuckDB downloads.
    """
    store = bare_store(settings.project, settings.home / "stock.db", redis_url)
    customer = Entity(name="customer", join_keys=[contract.ENTITY], value_type=ValueType.STRING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.apply([customer, *(_view(settings, customer, name) for name in contract.VIEWS)])
    return store


def bare_store(project: str, registry: Path, redis_url: str) -> FeatureStore:
    """Feast's DuckDB and Redis stores with their defaults, with nothing applied yet."""
    place = urlsplit(redis_url)
    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider="local",
            registry=str(registry),
            offline_store={"type": "duckdb"},
            online_store={"type": "redis", "connection_string": f"{place.hostname}:{place.port}"},
            entity_key_serialization_version=3,
        )
    )


def _view(settings: Settings, customer: Entity, name: str) -> FeatureView:
    path = _parquet_copy(settings, name)
    return FeatureView(
        name=name,
        entities=[customer],
        ttl=FOREVER,
        schema=[Field(name=contract.ENTITY, dtype=String), *map(field, contract.VIEWS[name])],
        source=FileSource(
            path=str(path),
            timestamp_field=contract.EVENT_TIMESTAMP,
            created_timestamp_column=contract.CREATED_TIMESTAMP,
        ),
    )


def _parquet_copy(settings: Settings, view: str) -> Path:
    path = settings.home / "stock" / f"{view}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    table = DeltaTable(str(settings.feature_path(view))).to_pyarrow_table()
    pq.write_table(table.drop_columns(["bucket"]), path)
    return path
