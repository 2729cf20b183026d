"""The answer to a Feast retrieval: a query that runs when its rows are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ibis
import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.duckdb import _write_data_source
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage


class NarrowRetrievalJob(RetrievalJob):  # type: ignore[misc]  # Feast is untyped
    """A query that runs when its result is asked for, and again when asked again."""

    def __init__(
        self,
        run: Callable[[], pa.Table],
        *,
        repo_path: str,
        on_demand: Sequence[OnDemandFeatureView] = (),
        full_feature_names: bool = False,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._run = run
        self._repo_path = repo_path
        self._on_demand = list(on_demand)
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        """Whether features are called `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Views that Feast computes on the result."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """Write the stored features of the result to a Parquet or Delta place."""
        table = ibis.memtable(self._run())
        source = storage.to_data_source()
        _write_data_source(table, source, self._repo_path, "overwrite", allow_overwrite)

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        rows: pd.DataFrame = self._run().to_pandas()
        return rows

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._run()
