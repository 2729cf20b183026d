"""What scoring reads, and the store in memory that stands in for Redis."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import numpy as np
import pytest

from feature_repo import contract
from feature_repo.errors import ConfigError, StoreUnavailable
from serving.settings import ServingSettings
from serving.store import NUMBERS, TEXTS, VIEWS, MemoryStore, RedisStore, scoring_layout
from tests.unit.serving.online.fake_redis import FakeRedis, polite, running


def test_the_layout_holds_all_that_models_and_as_of_need() -> None:
    views = scoring_layout("foresend").views

    for view, names in contract.ONLINE_COLUMNS.items():
        assert set(names) <= set(views[view])
    assert "last_event_at" in views[contract.ACTIVITY]


def test_columns_are_in_the_order_of_the_layout() -> None:
    layout = scoring_layout("foresend")

    assert tuple(name for _, name in layout.numbers) == NUMBERS
    assert tuple(name for _, name in layout.words) == TEXTS
    assert tuple(layout.views) == VIEWS


def test_a_url_that_cannot_be_used_is_named_without_its_password() -> None:
    with pytest.raises(ConfigError) as caught:
        RedisStore("http://u:secret@h", project="foresend", settings=ServingSettings())

    assert "secret" not in str(caught.value)
    assert "FORESEND_REDIS_URL" in str(caught.value)


def test_the_store_in_memory_gives_what_was_put_in() -> None:
    through = datetime(2026, 11, 24, tzinfo=UTC)
    store = MemoryStore({"ann": {"opens_total": 3.0, "country": "FR"}}, {"ann": 5.0}, through)

    stored = asyncio.run(store.read(["bob", "ann"], bulk=True))

    assert stored.numbers.shape == (len(NUMBERS), 2)
    assert stored.columns["opens_total"].tolist()[1] == 3.0
    assert stored.columns["country"].tolist() == [None, "FR"]
    assert np.isnan(stored.numbers[:, 0]).all()
    assert stored.found.tolist() == [False, True]
    assert stored.known_at.tolist()[1] == 5.0
    assert stored.view_known_at.shape == (len(VIEWS), 2)
    assert stored.through == through


def test_the_store_in_memory_can_be_down() -> None:
    with pytest.raises(StoreUnavailable, match="away"):
        asyncio.run(MemoryStore(down="It is away.").read(["ann"]))


def test_redis_that_lets_nobody_read_is_no_store_though_it_answers_ping() -> None:
    def answer(words: list[bytes]) -> bytes:
        return b"-NOPERM no\r\n" if words[0] == b"HGETALL" else polite(words)

    fake = FakeRedis(polite)

    async def run() -> None:
        async with running(fake):
            store = RedisStore(fake.url, project="foresend", settings=ServingSettings())
            await store.ping()
            fake.answer = answer
            with pytest.raises(StoreUnavailable, match="NOPERM"):
                await store.ping()
            await store.close()

    asyncio.run(run())
