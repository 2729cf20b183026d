"""`features load`: complete, incremental when it may be, and never silently half done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import redis
from deltalake import write_deltalake

from feature_repo import addresses, contract, online
from feature_repo.errors import NotReady, StoreUnavailable
from feature_repo.history.feature_table import feature_schema
from feature_repo.load import load
from feature_repo.online_codec import all_columns
from feature_repo.settings import Settings

pytestmark = pytest.mark.integration

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    return Settings(home=tmp_path / "home", redis_url=redis_url, project="shop")


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with online.connect(addresses.redis_url(settings)) as client:
        yield client


def add(
    settings: Settings, *rows: tuple[str, datetime, float], mode: str = "append", view: str = ""
) -> None:
    """Write rows of (customer, time, value) to a view's table, or to all of them."""
    for name in [view] if view else contract.VIEWS:
        schema = feature_schema(name)
        columns = {
            "customer_id": [customer for customer, _, _ in rows],
            "event_timestamp": [at for _, at, _ in rows],
            "created_timestamp": [at for _, at, _ in rows],
        }
        for feature in contract.VIEWS[name]:
            is_text = feature in contract.TEXT_FEATURES
            columns[feature] = [None if is_text else value for _, _, value in rows]
        table = pa.table(columns, schema=schema)
        path = settings.feature_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        bucket = pa.array(["0"] * len(rows))
        write_deltalake(
            str(path), table.append_column("bucket", bucket), mode=mode, partition_by=["bucket"]
        )


def value(settings: Settings, client: redis.Redis, customer: str) -> float:
    rows = online.OnlineReader(client, all_columns(settings.project)).read([customer])
    return float(rows.columns["opens_total"][0])


def test_the_newest_row_known_at_the_time_is_loaded(
    settings: Settings, client: redis.Redis
) -> None:
    add(settings, ("a", NOON, 1.0), ("a", NOON + HOUR, 2.0), ("a", NOON + 2 * HOUR, 3.0))
    add(settings, ("later", NOON + 2 * HOUR, 9.0))

    done = load(settings, client, as_of=NOON + HOUR)

    assert (done.customers, done.rows, done.full) == (1, len(contract.VIEWS), True)
    assert value(settings, client, "a") == 2.0
    reader = online.OnlineReader(client, all_columns(settings.project))
    assert reader.read(["a", "later", "nobody"]).found.tolist() == [True, False, False]
    note = online.read_loaded(client, settings.project)
    assert note is not None
    assert datetime.fromisoformat(note["through"]) == NOON + HOUR


def test_a_second_load_writes_only_what_is_new(settings: Settings, client: redis.Redis) -> None:
    add(settings, ("a", NOON, 1.0), ("b", NOON, 1.0))
    load(settings, client, as_of=NOON)
    add(settings, ("a", NOON + HOUR, 2.0), view=contract.ACTIVITY)

    done = load(settings, client, as_of=NOON + 2 * HOUR)

    assert (done.customers, done.rows, done.full) == (1, 1, False)
    assert (value(settings, client, "a"), value(settings, client, "b")) == (2.0, 1.0)


def test_rows_built_after_a_load_but_known_before_it_are_not_lost(
    settings: Settings, client: redis.Redis
) -> None:
    add(settings, ("a", NOON, 1.0), ("b", NOON + 3 * HOUR, 7.0))
    load(settings, client, as_of=NOON + 4 * HOUR)
    # This build came late: one row is news, the other older than what is online already.
    add(settings, ("a", NOON + HOUR, 2.0), ("b", NOON + HOUR, 6.0))

    done = load(settings, client, as_of=NOON + 5 * HOUR)

    assert done.full is False
    assert (value(settings, client, "a"), value(settings, client, "b")) == (2.0, 7.0)


def test_an_emptied_redis_gets_everything_again(settings: Settings, client: redis.Redis) -> None:
    add(settings, ("a", NOON, 1.0))
    load(settings, client, as_of=NOON)
    client.flushall()

    assert load(settings, client, as_of=NOON).full is True
    assert value(settings, client, "a") == 1.0


def test_a_table_changed_in_its_past_is_loaded_in_full(
    settings: Settings, client: redis.Redis
) -> None:
    add(settings, ("a", NOON, 1.0), ("gone", NOON, 1.0), ("half", NOON, 1.0))
    load(settings, client, as_of=NOON)
    for view in contract.VIEWS:
        rows = [("a", NOON - HOUR, 5.0)]
        rows += [("half", NOON - HOUR, 6.0)] if view == contract.ACTIVITY else []
        add(settings, *rows, mode="overwrite", view=view)

    done = load(settings, client, as_of=NOON)

    assert (done.full, done.removed) == (True, 2)
    assert value(settings, client, "a") == 5.0
    rows = online.OnlineReader(client, all_columns(settings.project)).read(["gone", "half"])
    assert rows.found.tolist() == [False, True]
    assert np.isnan(rows.known_at[contract.CUSTOMER_DAILY]).all()
    assert np.isnan(rows.columns["opens_7d"]).all()


def test_going_back_in_time_is_a_full_load(settings: Settings, client: redis.Redis) -> None:
    add(settings, ("a", NOON, 1.0), ("a", NOON + HOUR, 2.0))
    load(settings, client, as_of=NOON + HOUR)

    assert load(settings, client, as_of=NOON).full is True
    assert value(settings, client, "a") == 1.0


def test_a_load_leaves_other_projects_and_keys_alone(
    settings: Settings, client: redis.Redis
) -> None:
    add(settings, ("a", NOON, 1.0))
    other = settings.model_copy(update={"project": "myshop"})
    load(other, client, as_of=NOON)
    client.set("something", "else")
    add(settings, ("b", NOON, 1.0), mode="overwrite")

    done = load(settings, client, as_of=NOON, full=True)

    assert done.removed == 0
    assert value(other, client, "a") == 1.0
    assert client.get("something") == b"else"


def test_a_load_that_fails_leaves_the_note_of_the_last_one(
    settings: Settings, client: redis.Redis
) -> None:
    add(settings, ("a", NOON, 1.0))
    load(settings, client, as_of=NOON)
    before = client.get(online.loaded_key(settings.project))
    add(settings, ("a", NOON + HOUR, 2.0))
    # Redis refuses every write from now on: it may not grow, and may not evict.
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable, match="foresend up"):
            load(settings, client, as_of=NOON + HOUR)
    finally:
        client.config_set("maxmemory", "0")

    assert client.get(online.loaded_key(settings.project)) == before
    assert load(settings, client, as_of=NOON + HOUR).full is False
    assert value(settings, client, "a") == 2.0


def test_no_redis_is_told_with_the_cure(settings: Settings) -> None:
    add(settings, ("a", NOON, 1.0))
    nobody = online.connect("redis://127.0.0.1:1/0")

    with pytest.raises(StoreUnavailable, match="FORESEND_REDIS_URL"):
        load(settings, nobody, as_of=NOON)


def test_tables_that_were_never_built_are_told_with_the_cure(
    settings: Settings, client: redis.Redis
) -> None:
    with pytest.raises(NotReady, match="foresend features build"):
        load(settings, client, as_of=NOON)
    assert client.get(online.loaded_key(settings.project)) is None


def test_the_note_is_readable_by_anyone(settings: Settings, client: redis.Redis) -> None:
    add(settings, ("a", NOON, 1.0))
    load(settings, client, as_of=NOON)

    note = json.loads(client.get("foresend:shop:loaded") or b"{}")

    assert {"through", "as_of", "tables"} <= note.keys()
