"""Feast's DuckDB store with the narrow bitemporal join: what was known, fast, in little memory.

Differences from the stock store: the knowledge cutoff is always on; every entity row comes back
once, in its place; each call has a DuckDB of its own, so calls may run at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable
from feast import FeatureView, FileSource, RepoConfig
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView

from feature_repo import point_in_time
from feature_repo.errors import ConfigError, NotReady, UnusableInput
from feature_repo.history import duck
from feature_repo.point_in_time import FeatureTable, parquet, quoted, utc
from feature_repo.settings import Settings
from feature_repo.stores.retrieval import NarrowRetrievalJob


class NarrowDuckDBOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]  # Feast is untyped
    """Where DuckDB may spill, and how much it may use."""

    type: str = "feature_repo.stores.offline.NarrowDuckDBOfflineStore"
    #: The installation's folder; DuckDB spills below it.
    home: str
    memory_limit: str = "2GB"
    threads: int = 2

    @property
    def settings(self) -> Settings:
        """As the rest of the project reads them."""
        return Settings(
            home=Path(self.home),
            duckdb_memory_limit=self.memory_limit,
            duckdb_threads=self.threads,
        )


class NarrowDuckDBOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]  # Feast is untyped
    """Reads Parquet and Delta file sources."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = True,
    ) -> RetrievalJob:
        """As Feast's, as known at each row's time whatever `filter_by_created_timestamp` says."""
        if not isinstance(entity_df, pd.DataFrame):
            message = (
                f"entity_df is a {type(entity_df).__name__}; give a pandas DataFrame with the "
                "keys and the time of each row."
            )
            raise UnusableInput(message)
        moment = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        entities = _entities(entity_df, moment)
        tables = [
            feature_table(config, view, feature_refs, full_feature_names) for view in feature_views
        ]
        _check_names(entities, tables)
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        times = entities.column(moment).to_pandas()
        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[name for name in entities.column_names if name != moment],
            min_event_timestamp=times.min(),
            max_event_timestamp=times.max(),
        )

        def run() -> pa.Table:
            return _join_all(config.offline_store.settings, entities, moment, tables)

        return NarrowRetrievalJob(
            run,
            repo_path=str(config.repo_path),
            on_demand=on_demand,
            full_feature_names=full_feature_names,
            metadata=metadata,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each key with start_date <= timestamp_field <= end_date."""
        table = FeatureTable(
            name=data_source.name,
            files=_files(config, data_source),
            keys={key: key for key in join_key_columns},
            event_timestamp=timestamp_field,
            created_timestamp=created_timestamp_column or None,
            columns={name: name for name in feature_name_columns},
        )
        since = _aware(start_date) - timedelta(microseconds=1)

        def run() -> pa.Table:
            with duck.connect(config.offline_store.settings) as con:
                rows = point_in_time.latest(con, table, since=since, until=_aware(end_date))
                return rows.to_arrow_table()

        return NarrowRetrievalJob(run, repo_path=str(config.repo_path))

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Every row with start_date <= timestamp_field <= end_date, unordered."""
        times = [timestamp_field, created_timestamp_column or timestamp_field]
        names = [quoted(name) for name in (*join_key_columns, *feature_name_columns)]
        columns = [*names, *(f"{utc(t)} AS {quoted(t)}" for t in dict.fromkeys(times))]
        bounds = {
            "since": None if start_date is None else _aware(start_date),
            "until": None if end_date is None else _aware(end_date),
        }
        sql = (
            f"SELECT {', '.join(columns)} FROM {parquet(_files(config, data_source))} "
            f"WHERE ($since IS NULL OR {utc(timestamp_field)} >= $since) "
            f"AND ($until IS NULL OR {utc(timestamp_field)} <= $until)"
        )

        def run() -> pa.Table:
            with duck.connect(config.offline_store.settings) as con:
                return con.sql(sql, params=bounds).to_arrow_table()

        return NarrowRetrievalJob(run, repo_path=str(config.repo_path))


def _entities(entity_df: pd.DataFrame, moment: str) -> pa.Table:
    """The entity rows as Arrow, their times as UTC microseconds."""
    times = pd.to_datetime(entity_df[moment], utc=True)
    if times.isna().any():
        message = (
            f"{moment} is missing in {int(times.isna().sum())} entity rows; each needs a time."
        )
        raise UnusableInput(message)
    # Before Arrow sees the rows, because a column of texts or mixed objects may not convert.
    rows = pa.Table.from_pandas(entity_df.assign(**{moment: times}), preserve_index=False)
    micros = pa.array(times.dt.as_unit("us"), type=pa.timestamp("us", tz="UTC"))
    return rows.set_column(rows.column_names.index(moment), moment, micros)


def feature_table(
    config: RepoConfig, view: FeatureView, feature_refs: Sequence[str], full_names: bool = False
) -> FeatureTable:
    """What the join needs to know of a view: the asked features, in the view's own order."""
    source = view.batch_source
    asked = {
        name
        for prefix, _, name in (ref.partition(":") for ref in feature_refs)
        if prefix == view.projection.name_to_use()
    }
    column_of = {new: old for old, new in source.field_mapping.items()}
    prefix = f"{view.projection.name_alias or view.name}__" if full_names else ""
    key_map = view.projection.join_key_map or {e.name: e.name for e in view.entity_columns}
    return FeatureTable(
        name=view.name,
        files=_files(config, source),
        keys={column_of.get(key, key): entity for key, entity in key_map.items()},
        event_timestamp=column_of.get(source.timestamp_field, source.timestamp_field),
        created_timestamp=source.created_timestamp_column or None,
        columns={
            column_of.get(feature.name, feature.name): prefix + feature.name
            for feature in view.features
            if feature.name in asked
        },
        ttl=view.ttl or None,
    )


def _join_all(
    settings: Settings, entities: pa.Table, moment: str, tables: Sequence[FeatureTable]
) -> pa.Table:
    """The entity rows with the columns of every table beside them."""
    result = entities
    at = entities.append_column(point_in_time.MOMENT, entities.column(moment))
    with duck.connect(settings) as con:
        # Winners lie in every row group: reading ahead what filters may skip only costs.
        con.execute("SET disable_parquet_prefetching = true")
        for table in tables:
            columns = point_in_time.join(con, at, table)
            for name, column in zip(table.columns.values(), columns, strict=True):
                result = result.append_column(name, column)
    return result


def _check_names(entities: pa.Table, tables: Sequence[FeatureTable]) -> None:
    """Refuse what would make a result with a missing or a doubled column."""
    for table in tables:
        for key in table.keys.values():
            if key not in entities.column_names:
                message = f"entity_df has no column {key!r}, which {table.name} is joined on."
                raise UnusableInput(message)
        for name in table.columns.values():
            if name in entities.column_names:
                message = (
                    f"entity_df has a column {name!r}, and {table.name} a feature of that name. "
                    "Rename the column or ask for full_feature_names."
                )
                raise UnusableInput(message)


def _files(config: RepoConfig, source: DataSource) -> tuple[str, ...]:
    """Parquet files that make up a source today."""
    if not isinstance(source, FileSource):
        message = f"{source.name} is a {type(source).__name__}; this store reads FileSource alone."
        raise ConfigError(message)
    place = FileSource.get_uri_for_file_path(repo_path=config.repo_path, uri=source.path)
    if isinstance(source.file_format, DeltaFormat):
        if not DeltaTable.is_deltatable(place):
            message = f"No feature table at {place}. Build it with `foresend features build`."
            raise NotReady(message)
        return tuple(DeltaTable(place).file_uris())
    if Path(place).is_dir():
        return tuple(str(path) for path in sorted(Path(place).glob("**/*.parquet")))
    return (place,)


def _aware(time: datetime) -> datetime:
    """The time with UTC for a naive one."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)
