"""What our codec writes, Feast's own client reads, and the reverse, to the byte."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
import redis
from feast import FeatureStore, RepoConfig

from feature_repo import addresses, contract, online, store
from feature_repo.agreement import verify
from feature_repo.definitions import definitions
from feature_repo.load import load
from feature_repo.online_codec import all_columns, feature_field
from feature_repo.settings import Settings
from infra.bench.feature_data import write_feature_tables

pytestmark = pytest.mark.integration

CUSTOMERS = 1_000
UNTIL = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    return Settings(home=tmp_path / "home", redis_url=redis_url, project="shop")


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with online.connect(addresses.redis_url(settings)) as client:
        yield client


@pytest.fixture
def built(settings: Settings) -> Settings:
    """Settings whose feature tables hold two rows per customer and view."""
    write_feature_tables(settings, customers=CUSTOMERS, versions=2, until=UNTIL)
    return settings


def stock_store(settings: Settings) -> FeatureStore:
    """Feast with nothing of ours but the definitions: its own Redis store and a file registry."""
    place = urlsplit(addresses.redis_url(settings))
    config = RepoConfig(
        project=settings.project,
        provider="local",
        registry=str(settings.home / "stock.db"),
        offline_store={
            "type": "feature_repo.stores.offline.NarrowDuckDBOfflineStore",
            "home": str(settings.home),
        },
        online_store={"type": "redis", "connection_string": f"{place.hostname}:{place.port},db=0"},
        entity_key_serialization_version=3,
        materialization={"pull_latest_features": True},
        repo_path=store.REPO,
    )
    stock = FeatureStore(config=config)
    with pytest.warns(RuntimeWarning, match="On demand"):
        stock.apply([*definitions(settings)])
    return stock


def ids(count: int = CUSTOMERS) -> list[str]:
    return [f"customer-{i:07d}" for i in range(count)]


def read_by_feast(feast_store: FeatureStore, customers: list[str]) -> pd.DataFrame:
    refs = [f"{view}:{name}" for view, names in contract.VIEWS.items() for name in names]
    rows = [{contract.ENTITY: customer} for customer in customers]
    return feast_store.get_online_features(refs, rows).to_df()


def assert_same_values(rows: online.OnlineRows, frame: pd.DataFrame) -> None:
    for name, column in rows.columns.items():
        if name in contract.TEXT_FEATURES:
            assert [*column] == [*frame[name].where(frame[name].notna(), None)]
        else:
            np.testing.assert_array_equal(column, frame[name].astype(float).to_numpy())


def hashes(client: redis.Redis, settings: Settings) -> dict[bytes, dict[bytes, bytes]]:
    return {key: client.hgetall(key) for key in all_columns(settings.project).keys(ids())}


def test_feast_reads_what_we_write(built: Settings, client: redis.Redis) -> None:
    load(built, client, as_of=UNTIL)
    ours = online.OnlineReader(client, all_columns(built.project)).read(ids())

    assert ours.found.all()
    assert_same_values(ours, read_by_feast(stock_store(built), ids()))
    assert_same_values(ours, read_by_feast(store.open_store(built), ids()))


def test_we_read_what_feast_materialises(built: Settings, client: redis.Redis) -> None:
    stock = stock_store(built)
    stock.materialize(UNTIL - timedelta(days=500), UNTIL)

    ours = online.OnlineReader(client, all_columns(built.project)).read(ids())

    assert ours.found.all()
    assert_same_values(ours, read_by_feast(stock, ids()))


def test_our_bytes_are_those_of_feast(built: Settings, client: redis.Redis) -> None:
    stock_store(built).materialize(UNTIL - timedelta(days=500), UNTIL)
    by_stock = hashes(client, built)
    client.flushall()
    store.open_store(built).materialize(UNTIL - timedelta(days=500), UNTIL)
    by_our_store = hashes(client, built)
    client.flushall()
    load(built, client, as_of=UNTIL)
    into_nothing = hashes(client, built)
    load(built, client, as_of=UNTIL, full=True)

    assert by_stock == by_our_store == hashes(client, built)
    # Into an empty Redis, what is missing is not written at all.
    present = {k: {f: v for f, v in held.items() if v} for k, held in by_stock.items()}
    assert into_nothing == present


def pushed(value: float, at: datetime) -> pd.DataFrame:
    """A row of the profile as a client of Feast would write it."""
    row: dict[str, object] = dict.fromkeys(contract.VIEWS[contract.CUSTOMER_PROFILE])
    row |= {"country": "GB", "is_subscribed": value, "utc_offset_minutes": float("nan")}
    row |= {"customer_id": "customer-0000001", "mailbox_provider": "", "currency": "GBP"}
    times = {"event_timestamp": at, "created_timestamp": at}
    return pd.DataFrame([{**row, **times}])


def test_a_correction_of_equal_time_wins_and_an_older_row_does_not(
    settings: Settings, client: redis.Redis
) -> None:
    feast_store = store.open_store(settings)
    reader = online.OnlineReader(client, all_columns(settings.project))

    seen = []
    for value, at in [
        (1.0, UNTIL),
        (2.0, UNTIL),
        (3.0, UNTIL - timedelta(microseconds=1)),
        (4.0, UNTIL + timedelta(microseconds=1)),
    ]:
        feast_store.write_to_online_store(contract.CUSTOMER_PROFILE, pushed(value, at))
        rows = reader.read(["customer-0000001"])
        seen.append(rows.columns["is_subscribed"][0])

    assert seen == [1.0, 2.0, 2.0, 4.0]
    assert rows.columns["mailbox_provider"][0] == ""
    assert rows.known_at[contract.CUSTOMER_PROFILE][0] == pytest.approx(
        UNTIL.timestamp() + 1e-6, abs=1e-7
    )


def test_teardown_leaves_a_project_whose_name_ends_alike(
    built: Settings, client: redis.Redis
) -> None:
    other = built.model_copy(update={"project": "myshop"})
    load(other, client, as_of=UNTIL)
    load(built, client, as_of=UNTIL)

    store.open_store(built).teardown()

    assert not online.OnlineReader(client, all_columns("shop")).read(ids()).found.any()
    assert online.OnlineReader(client, all_columns("myshop")).read(ids()).found.all()


def test_online_equals_offline_for_every_customer(built: Settings, client: redis.Redis) -> None:
    at = UNTIL - timedelta(days=30)
    load(built, client, as_of=at)

    agreement = verify(built, at)

    assert agreement.mismatches == 0, agreement.examples
    assert agreement.customers > CUSTOMERS * 0.9
    served = (*contract.MODEL_FEATURES, *contract.CONTEXT_FEATURES)
    assert agreement.compared == agreement.customers * len(served)


def test_a_value_that_differs_is_found_and_named(built: Settings, client: redis.Redis) -> None:
    load(built, client, as_of=UNTIL)
    layout = all_columns(built.project)
    (key,) = layout.keys(["customer-0000007"])
    wrong = b"\x29" + struct.pack("<d", 12345.5)
    client.hset(key, feature_field(contract.CUSTOMER_DAILY, "sends_7d"), wrong)

    agreement = verify(built, UNTIL)

    assert [(m.feature, m.online) for m in agreement.examples] == [("sends_7d", 12345.5)]
    assert agreement.mismatches == 1
    assert "customer-0000007" not in repr(agreement)
