"""The narrow join gives what Feast's stock DuckDB store gives with its knowledge cutoff on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import DeltaFormat, FileFormat, ParquetFormat
from feast.types import Float64, String

from feature_repo.errors import ConfigError, NotReady, UnusableInput

pytestmark = [
    pytest.mark.integration,
    # Ibis' DuckDB backend, used by the stock store alone.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

STOCK = {"type": "duckdb"}
DAY_S = 86_400
START = pd.Timestamp("2024-01-01", tz="UTC")


def feast_store(folder: Path, offline: dict[str, str], *views: FeatureView) -> FeatureStore:
    """A store of its own registry over the views."""
    registry = folder / f"{offline['type']}.db"
    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(registry),
        offline_store=offline,
        online_store=None,
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    store = FeatureStore(config=config)
    store.apply([CUSTOMER, *views])
    return store


CUSTOMER = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)


def ours(folder: Path) -> dict[str, str]:
    return {
        "type": "feature_repo.stores.offline.NarrowDuckDBOfflineStore",
        "home": str(folder),
        "memory_limit": "500MB",
    }


def view(
    name: str,
    path: Path,
    columns: list[str],
    *,
    file_format: FileFormat | None = None,
    ttl: timedelta = timedelta(0),
    created: str = "created_timestamp",
) -> FeatureView:
    source = FileSource(
        name=f"{name}_source",
        path=str(path),
        file_format=file_format or ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column=created,
    )
    kinds = {"country": String}
    fields = [Field(name=c, dtype=kinds.get(c, Float64)) for c in columns]
    return FeatureView(name=name, entities=[CUSTOMER], schema=fields, ttl=ttl, source=source)


def rows(seed: int, columns: list[str], count: int = 3_000, customers: int = 60) -> pa.Table:
    """Features with nulls, late rows and corrections; no two rows tie on both times."""
    rng = np.random.default_rng(seed)
    event = rng.integers(0, 40, count) * DAY_S
    created = event + rng.integers(0, 10, count) * DAY_S
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in rng.integers(0, customers, count)],
            "event_timestamp": START + pd.to_timedelta(event, unit="s"),
            "created_timestamp": START + pd.to_timedelta(created, unit="s"),
        }
    )
    for column in columns:
        values = np.where(rng.random(count) < 0.2, np.nan, rng.integers(0, 1_000, count) / 7)
        frame[column] = pd.Series(values)
    if "country" in columns:
        frame["country"] = rng.choice(np.array(["GB", "DE", None], dtype=object), count)
    frame = frame.drop_duplicates(["customer_id", "event_timestamp", "created_timestamp"])
    schema = pa.Table.from_pandas(frame, preserve_index=False).schema
    times = {"event_timestamp", "created_timestamp"}
    return pa.Table.from_pandas(
        frame,
        preserve_index=False,
        schema=pa.schema(
            [
                pa.field(f.name, pa.timestamp("us", tz="UTC") if f.name in times else f.type)
                for f in schema
            ]
        ),
    )


def entity_rows(seed: int, count: int = 500, customers: int = 70) -> pd.DataFrame:
    """Rows that ask at midnights (equal to feature times) and between, some twice."""
    rng = np.random.default_rng(seed)
    half_days = rng.integers(0, 110, count)
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in rng.integers(0, customers, count)],
            "event_timestamp": START + pd.to_timedelta(half_days * DAY_S // 2, unit="s"),
            "label": np.arange(count),
        }
    )
    return pd.concat([frame, frame.iloc[:50].assign(label=-1)], ignore_index=True)


def assert_same(ours: pd.DataFrame, stock: pd.DataFrame, columns: list[str]) -> None:
    """Cell by cell; the stock store returns its rows in any order."""
    order = ["customer_id", "event_timestamp", "label"]
    left = ours.sort_values(order, ignore_index=True)[[*order, *columns]]
    right = stock.sort_values(order, ignore_index=True)[[*order, *columns]]
    right["event_timestamp"] = right["event_timestamp"].astype(left["event_timestamp"].dtype)
    pd.testing.assert_frame_equal(left, right, check_exact=True, check_dtype=False)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("full_names", [False, True])
def test_every_cell_equals_the_stock_store_with_the_cutoff(
    tmp_path: Path, seed: int, full_names: bool
) -> None:
    pq.write_table(rows(seed, ["a", "b", "country"]), tmp_path / "first.parquet")
    (tmp_path / "second").mkdir()
    second = rows(seed + 10, ["d"])
    for part in range(3):
        pq.write_table(second.slice(part * 900, 900), tmp_path / "second" / f"{part}.parquet")
    third = rows(seed + 20, ["e"])
    write_deltalake(tmp_path / "third", third)
    pq.write_table(third, tmp_path / "third.parquet")
    views = (
        view("first", tmp_path / "first.parquet", ["a", "b", "country"]),
        view("second", tmp_path / "second" / "*.parquet", ["d"], ttl=timedelta(days=5)),
    )
    delta = view("third", tmp_path / "third", ["e"], file_format=DeltaFormat())
    # The stock store reads Delta by an extension that DuckDB downloads.
    parquet = view("third", tmp_path / "third.parquet", ["e"])
    refs = ["first:country", "first:a", "second:d", "third:e"]
    names = [ref.replace(":", "__") if full_names else ref.split(":")[1] for ref in refs]
    entities = entity_rows(seed)

    stock = feast_store(tmp_path, STOCK, *views, parquet).get_historical_features(
        entities, refs, full_feature_names=full_names, filter_by_created_timestamp=True
    )
    narrow = feast_store(tmp_path, ours(tmp_path), *views, delta).get_historical_features(
        entities, refs, full_feature_names=full_names
    )

    result = narrow.to_df()
    assert_same(result, stock.to_df(), names)
    assert result["label"].tolist() == entities["label"].tolist()


@pytest.fixture
def one_row(tmp_path: Path) -> Path:
    """Customer A: 2.0, a correction to 99.0 known later, and a late row of 77.0."""
    frame = pd.DataFrame(
        {
            "customer_id": ["A", "A", "A"],
            "event_timestamp": pd.to_datetime(["2024-05-10", "2024-05-10", "2024-05-12"], utc=True),
            "created_timestamp": pd.to_datetime(
                ["2024-05-10", "2024-05-20", "2024-05-25"], utc=True
            ),
            "a": [2.0, 99.0, 77.0],
        }
    )
    path = tmp_path / "one.parquet"
    frame.to_parquet(path, coerce_timestamps="us", allow_truncated_timestamps=True)
    return path


def test_only_what_was_known_at_the_time_is_seen(tmp_path: Path, one_row: Path) -> None:
    store = feast_store(tmp_path, ours(tmp_path), view("one", one_row, ["a"]))
    days = ["2024-05-09", "2024-05-15", "2024-05-21", "2024-05-26"]
    entities = pd.DataFrame({"customer_id": "A", "event_timestamp": pd.to_datetime(days, utc=True)})

    result = store.get_historical_features(entities, ["one:a"]).to_df()

    expected = pd.Series([np.nan, 2.0, 99.0, 77.0], name="a")
    pd.testing.assert_series_equal(result["a"], expected)


@pytest.mark.parametrize(
    "times",
    [
        # Naive datetimes are UTC, here and in Feast.
        pd.to_datetime(["2024-05-15", "2024-05-21"]),
        ["2024-05-15T00:00:00", "2024-05-21T00:00:00"],
        ["2024-05-15T02:00:00+02:00", "2024-05-21T02:00:00+02:00"],
        pd.to_datetime(["2024-05-15", "2024-05-21"], utc=True).as_unit("ns"),
    ],
)
def test_times_may_be_written_in_any_way(
    tmp_path: Path, one_row: Path, times: list[str] | pd.DatetimeIndex
) -> None:
    store = feast_store(tmp_path, ours(tmp_path), view("one", one_row, ["a"]))
    entities = pd.DataFrame({"customer_id": "A", "event_timestamp": times})

    result = store.get_historical_features(entities, ["one:a"]).to_df()

    assert result["a"].tolist() == [2.0, 99.0]


def test_a_feature_row_without_created_time_is_refused(tmp_path: Path, one_row: Path) -> None:
    frame = pd.read_parquet(one_row)
    frame.loc[0, "created_timestamp"] = pd.NaT
    frame.to_parquet(one_row)
    store = feast_store(tmp_path, ours(tmp_path), view("one", one_row, ["a"]))
    job = store.get_historical_features(entity_rows(1), ["one:a"])

    with pytest.raises(UnusableInput, match="created_timestamp is null in 1 rows"):
        job.to_df()


def test_a_view_without_created_column_is_refused(tmp_path: Path, one_row: Path) -> None:
    store = feast_store(tmp_path, ours(tmp_path), view("one", one_row, ["a"], created=""))
    job = store.get_historical_features(entity_rows(1), ["one:a"])

    with pytest.raises(ConfigError, match="created_timestamp_column"):
        job.to_df()


def test_unusable_entity_rows_are_refused(tmp_path: Path, one_row: Path) -> None:
    store = feast_store(tmp_path, ours(tmp_path), view("one", one_row, ["a"]))
    rows = entity_rows(1)

    with pytest.raises(UnusableInput, match="give a pandas DataFrame"):
        store.get_historical_features("SELECT 1", ["one:a"])
    with pytest.raises(UnusableInput, match="a feature of that name"):
        store.get_historical_features(rows.assign(a=1), ["one:a"])
    with pytest.raises(UnusableInput, match="no column 'customer_id'"):
        store.get_historical_features(rows.drop(columns="customer_id"), ["one:a"])
    rows.loc[0, "event_timestamp"] = pd.NaT
    with pytest.raises(UnusableInput, match="missing in 1 entity rows"):
        store.get_historical_features(rows, ["one:a"])


def test_a_missing_feature_table_says_how_to_build_it(tmp_path: Path) -> None:
    missing = view("one", tmp_path / "none", ["a"], file_format=DeltaFormat())
    store = feast_store(tmp_path, ours(tmp_path), missing)

    with pytest.raises(NotReady, match="foresend features build"):
        store.get_historical_features(entity_rows(1), ["one:a"])


def test_calls_may_run_at_the_same_time(tmp_path: Path) -> None:
    pq.write_table(rows(5, ["a"]), tmp_path / "first.parquet")
    store = feast_store(tmp_path, ours(tmp_path), view("first", tmp_path / "first.parquet", ["a"]))
    jobs = [store.get_historical_features(entity_rows(6), ["first:a"]) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(lambda job: job.to_df(), jobs))

    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0])


def test_latest_and_all_rows_equal_the_stock_store(tmp_path: Path) -> None:
    pq.write_table(rows(7, ["a", "country"]), tmp_path / "first.parquet")
    source = view("first", tmp_path / "first.parquet", ["a", "country"])
    arguments = {
        "data_source": source.batch_source,
        "join_key_columns": ["customer_id"],
        "feature_name_columns": ["a", "country"],
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": "created_timestamp",
        "start_date": (START + pd.Timedelta(days=3)).to_pydatetime(),
        "end_date": (START + pd.Timedelta(days=20)).to_pydatetime(),
    }
    order = ["customer_id", "event_timestamp", "created_timestamp", "a", "country"]

    for pull in ("pull_latest_from_table_or_query", "pull_all_from_table_or_query"):
        frames = []
        for offline in (STOCK, ours(tmp_path)):
            store = feast_store(tmp_path, offline, source)
            offline_store = store._get_provider().offline_store
            job = getattr(offline_store, pull)(config=store.config, **arguments)
            frames.append(job.to_df()[order].sort_values(order[:4], ignore_index=True))
        pd.testing.assert_frame_equal(*frames, check_dtype=False, check_exact=True)


def test_nanosecond_files_of_pandas_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "ns.parquet"
    duckdb.sql(
        "COPY (SELECT 'A' customer_id, TIMESTAMP_NS '2024-05-10' event_timestamp, "
        f"TIMESTAMP_NS '2024-05-10' created_timestamp, 1.5 a) TO '{path}'"
    )
    store = feast_store(tmp_path, ours(tmp_path), view("one", path, ["a"]))
    at = pd.to_datetime(["2024-05-11"], utc=True)

    frame = pd.DataFrame({"customer_id": "A", "event_timestamp": at})
    result = store.get_historical_features(frame, ["one:a"]).to_df()

    assert result["a"].tolist() == [1.5]
