"""Redis as the scoring API reads it: same values as every other reader, and no long waits."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis

from feature_repo import contract
from feature_repo.errors import StoreUnavailable
from feature_repo.online import OnlineReader, OnlineWriter, connect, loaded_key
from feature_repo.online_codec import all_columns
from serving.settings import ServingSettings
from serving.store import RedisStore, scoring_layout
from tests.conftest import _free_port, _redis_binary, _wait_until_it_answers

pytestmark = pytest.mark.integration

PROJECT = "shop"
KNOWN = datetime(2026, 11, 24, 6, tzinfo=UTC)
CUSTOMERS = ("ann", "bob", "çelik")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Redis that a test may freeze or kill."""
    port = _free_port()
    command = [_redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (tmp_path / "redis.log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=log, stderr=log)
    _wait_until_it_answers(port, process)
    try:
        yield f"redis://127.0.0.1:{port}/0", process
    finally:
        process.kill()
        process.wait(timeout=10)


def fill(url: str) -> None:
    """Every view of three customers."""
    values = np.random.default_rng(7)
    with connect(url) as client:
        writer = OnlineWriter(client, all_columns(PROJECT))
        for view, names in contract.VIEWS.items():
            columns: dict[str, Any] = {
                contract.ENTITY: list(CUSTOMERS),
                contract.EVENT_TIMESTAMP: pa.array(
                    [KNOWN] * len(CUSTOMERS), pa.timestamp("us", tz="UTC")
                ),
            }
            for name in names:
                is_text = name in contract.TEXT_FEATURES
                columns[name] = ["FR", None, "DE"] if is_text else values.random(3)
            writer.write(view, pa.table(columns))
        client.set(loaded_key(PROJECT), json.dumps({"through": KNOWN.isoformat()}))


def store_of(url: str, **changes: Any) -> RedisStore:
    """A store that waits long enough for a busy machine, unless told otherwise."""
    patient = {"redis_read_timeout_s": 5.0, "redis_connect_timeout_s": 5.0}
    return RedisStore(url, project=PROJECT, settings=ServingSettings(**{**patient, **changes}))


def used(url: str, question: Callable[[RedisStore], Awaitable[Any]], **changes: Any) -> Any:
    """The answer to a question to a store that is closed afterwards."""

    async def ask() -> Any:
        store = store_of(url, **changes)
        try:
            return await question(store)
        finally:
            await store.close()

    return asyncio.run(ask())


def test_it_reads_what_the_bulk_reader_reads(redis_url: str) -> None:
    fill(redis_url)
    asked = [*CUSTOMERS, "nobody", "ann"]

    stored = used(redis_url, lambda store: store.read(asked))

    with connect(redis_url) as client:
        rows = OnlineReader(client, scoring_layout(PROJECT)).read(asked)
    assert stored.found.tolist() == [True, True, True, False, True]
    assert stored.through == KNOWN
    assert stored.known_at[0] == KNOWN.timestamp()
    assert np.isnan(stored.known_at[3])
    assert set(stored.columns) == set(rows.columns)
    for name, column in rows.columns.items():
        np.testing.assert_array_equal(stored.columns[name], column)


def test_an_empty_redis_knows_nobody_and_is_no_error(redis_url: str) -> None:
    stored = used(redis_url, lambda store: store.read(["ann"]))

    assert stored.found.tolist() == [False]
    assert stored.through is None


def test_a_thousand_customers_fit_one_read(redis_url: str) -> None:
    fill(redis_url)

    stored = used(redis_url, lambda store: store.read(["ann"] * 1000))

    assert stored.found.all()


def test_a_key_that_holds_something_else_is_not_taken_for_features(redis_url: str) -> None:
    fill(redis_url)
    key = scoring_layout(PROJECT).keys(["ann"])[0]
    with redis.Redis.from_url(redis_url) as client:
        client.delete(key)
        client.set(key, "text")

    stored = used(redis_url, lambda store: store.read(["ann", "bob"]))

    # Nor does it fail its neighbours.
    assert stored.found.tolist() == [False, True]


def test_a_stopped_redis_fails_and_is_found_again_when_it_is_back(
    own_redis: tuple[str, subprocess.Popen[bytes]],
) -> None:
    url, process = own_redis
    fill(url)

    async def question(store: RedisStore) -> Any:
        await store.read(["ann"])
        os.kill(process.pid, signal.SIGSTOP)
        for _ in range(8):
            with pytest.raises(StoreUnavailable):
                await store.read(["ann"])
        os.kill(process.pid, signal.SIGCONT)
        while True:
            try:
                return await store.read(["ann"])
            except StoreUnavailable:
                await asyncio.sleep(0.05)

    stored = used(url, question, redis_read_timeout_s=0.3, redis_connect_timeout_s=0.5)

    assert stored.found.tolist() == [True]


def test_no_redis_at_all_is_a_sentence_without_the_password() -> None:
    url = f"redis://:secret@127.0.0.1:{_free_port()}/0"

    async def question(store: RedisStore) -> Any:
        with pytest.raises(StoreUnavailable) as read:
            await store.read(["ann"])
        with pytest.raises(StoreUnavailable) as ping:
            await store.ping()
        return str(read.value) + str(ping.value)

    told = used(url, question)

    assert "does not answer" in told
    assert "secret" not in told


def test_a_cancelled_read_leaves_no_reply_for_the_next_one(redis_url: str) -> None:
    fill(redis_url)

    async def question(store: RedisStore) -> Any:
        for _ in range(20):
            reading = asyncio.create_task(store.read(["ann"] * 50))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return await store.read(["bob"])

    stored = used(redis_url, question)

    assert stored.found.tolist() == [True]
    assert stored.columns["country"].tolist() == [None]
