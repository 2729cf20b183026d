"""Datasets are read past Feast's pandas frames, and hold what Feast gives, bit by bit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from feast import FeatureStore

from feature_repo import contract
from feature_repo.history.log import Snapshot
from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.targets import target_from
from infra.bench.feature_data import customer_id, write_feature_tables
from training.dataset import Dataset
from training.reading import to_us
from training.retrieval import BLOCK_ROWS, Decided, with_features
from training.spine import SpineCounts

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

UNTIL = datetime(2026, 6, 1, tzinfo=UTC)
CUSTOMERS, ROWS = 300, 3_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    write_feature_tables(settings, customers=CUSTOMERS, versions=5, until=UNTIL, seed=1)
    return open_store(settings)


@pytest.fixture(scope="module")
def decided() -> Decided:
    """Decisions over the two years before, some of customers nobody knows."""
    rng = np.random.default_rng(2)
    ages = np.sort(rng.integers(0, 700 * 86_400, ROWS))[::-1]
    return Decided(
        target=target_from("t", {"event": "clicked", "horizon_days": 7, "spine": "sent"}),
        as_of=UNTIL,
        grace=timedelta(0),
        counts=SpineCounts(decisions=ROWS, immature=0),
        snapshot=Snapshot(None, (), -1),
        label=rng.integers(0, 2, ROWS).astype(np.int8),
        at_us=to_us(UNTIL) - ages * 1_000_000,
        customer=np.array(
            [customer_id(n) for n in rng.integers(0, CUSTOMERS * 11 // 10, ROWS)], dtype=object
        ),
        weight=np.ones(ROWS),
        unseen=0,
    )


def by_feast(store: FeatureStore, decided: Decided) -> pd.DataFrame:
    entities = pd.DataFrame(
        {
            contract.ENTITY: decided.customer,
            contract.EVENT_TIMESTAMP: pd.to_datetime(decided.at_us, unit="us", utc=True),
            contract.REQUEST_COLUMN: decided.at_us / 1e6,
            "position": np.arange(ROWS),
        }
    )
    service = store.get_feature_service(contract.FEATURE_SERVICE)
    found = store.get_historical_features(entity_df=entities, features=service).to_df()
    assert isinstance(found, pd.DataFrame)
    return found.sort_values("position", ignore_index=True)


@pytest.fixture(scope="module")
def expected(store: FeatureStore, decided: Decided) -> pd.DataFrame:
    return by_feast(store, decided)


def assert_equal(found: Dataset, expected: pd.DataFrame) -> None:
    assert tuple(found.columns) == contract.MODEL_FEATURES
    assert tuple(found.context) == contract.CONTEXT_FEATURES
    for name, values in {**found.columns, **found.context}.items():
        if name in contract.TEXT_FEATURES:
            assert values.tolist() == [None if pd.isna(v) else v for v in expected[name]], name
        else:
            want = expected[name].to_numpy(dtype=np.float64, na_value=np.nan)
            np.testing.assert_array_equal(values, want, err_msg=name)


# One block; a block for each partition; blocks of several partitions.
@pytest.mark.parametrize("block_rows", [BLOCK_ROWS, 100, ROWS // 5])
def test_a_dataset_equals_what_feast_gives_in_blocks_of_any_size(
    store: FeatureStore, decided: Decided, expected: pd.DataFrame, block_rows: int
) -> None:
    steps: list[str] = []

    found = with_features(store, decided, block_rows=block_rows, progress=steps.append)

    assert_equal(found, expected)
    assert steps[-1] == f"features of {ROWS:,} of {ROWS:,} decisions"
    assert len(steps) == {BLOCK_ROWS: 1, 100: 16, ROWS // 5: 5}[block_rows]


def test_equal_texts_are_one_object(store: FeatureStore, decided: Decided) -> None:
    (name,) = contract.TEXT_FEATURES[:1]

    values = with_features(store, decided).columns[name]

    assert len({id(value) for value in values}) == len(set(values.tolist()))


def test_the_digest_covers_every_value_of_rows_taken(
    store: FeatureStore, decided: Decided, tmp_path: Path
) -> None:
    whole = with_features(store, decided)
    part = whole.take(np.arange(ROWS - 1))
    again = with_features(store, decided, block_rows=100)

    assert whole.sha256() == again.sha256()
    assert part.sha256() != whole.sha256()
    if whole.context:
        again.context[contract.CONTEXT_FEATURES[0]][7] = 0.123
        assert whole.sha256() != again.sha256()
