"""What a running server answers while Redis is frozen, gone, empty, loading, slow or torn.

Whatever happens below, a request is answered 200, and each row is the customer's own answer or says
that it is less. The clients retry nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.conftest import _redis_binary
from tests.integration.honest_load import REQUESTS, Load, causes_of, port_of, rows_of, until_full
from tests.integration.shelved_api import fill, serving
from tests.integration.test_serving_process import until
from tests.integration.test_serving_store import own_redis as own_redis
from tests.integration.test_serving_store_faults import Proxy, proxied

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

Own = tuple[str, "subprocess.Popen[bytes]"]


def test_a_frozen_redis_under_load_is_declared_on_every_row(own_redis: Own, tmp_path: Path) -> None:
    url, process = own_redis
    fill(url)
    quick = {"FORESEND_SERVING_REDIS_READ_TIMEOUT_S": "0.3"}
    with serving(tmp_path / "home", url, **quick) as api:
        warm = rows_of(api, range(500))
        assert {row["degraded"] for row in warm} == {None}

        process.send_signal(signal.SIGSTOP)
        frozen = Load(port_of(api))
        frozen.run()
        assert set(frozen.causes) == {"store_unavailable"}
        assert set(frozen.origins) == {"last_score", "base_rate"}

        process.send_signal(signal.SIGCONT)
        until_full(api)
        assert api.stop() == 0


def test_a_redis_that_comes_and_goes_under_load_gives_nobody_anothers_answer(
    own_redis: Own, tmp_path: Path
) -> None:
    url, process = own_redis
    fill(url)
    # As it is in production: most answers come in time, some do not.
    with serving(tmp_path / "home", url, FORESEND_SERVING_REDIS_READ_TIMEOUT_S="0.015") as api:
        load = Load(port_of(api))
        with load.beside(10 * REQUESTS):
            for _ in range(4):
                time.sleep(0.3)
                process.send_signal(signal.SIGSTOP)
                time.sleep(0.3)
                process.send_signal(signal.SIGCONT)
        assert load.causes["store_unavailable"] > 0
        assert load.causes[None] > 0
        assert set(load.causes) == {None, "store_unavailable"}
        assert api.stop() == 0


@contextmanager
def redis_at(url: str, folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another Redis at the address of one that was killed."""
    port = url.rsplit(":", 1)[1].removesuffix("/0")
    command = [_redis_binary(), "--port", port, "--bind", "127.0.0.1", "--dir", str(folder)]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=10)


def test_a_redis_that_was_killed_and_is_back_empty_yields_no_plain_score(
    own_redis: Own, tmp_path: Path
) -> None:
    url, process = own_redis
    fill(url)
    with serving(tmp_path / "home", url) as api:
        assert causes_of(api, [1, 2]) == [None, None]
        load = Load(port_of(api))
        with load.beside(REQUESTS):
            process.kill()
            process.wait(timeout=10)
        assert causes_of(api, [1, 2]) == ["store_unavailable"] * 2

        with redis_at(url, tmp_path, "--save", ""):
            until(lambda: causes_of(api, [1]) == ["unknown_customer"], "the empty one is read")
            empty = Load(port_of(api))
            empty.run()
            assert set(empty.causes) == {"unknown_customer"}
            assert set(empty.origins) == {"base_rate"}
            # The stream goes on and writes, but nobody has loaded: what is there may be a part.
            fill(url, [1, 2], through=None)
            assert causes_of(api, [1, 2, 3]) == ["stale_features"] * 2 + ["unknown_customer"]
            fill(url)
            until_full(api)
        assert api.stop() == 0


def test_a_redis_that_is_loading_its_data_is_away_until_it_has_it_all(
    own_redis: Own, tmp_path: Path
) -> None:
    url, process = own_redis
    fill(url, range(200))
    with redis.Redis.from_url(url) as client:
        # While it loads, it looks at its connections after each two megabytes only.
        for number in range(20):
            client.set(f"ballast-{number}", os.urandom(2_200_000))
        client.save()
    slow = ("--key-load-delay", "40000")
    with serving(tmp_path / "home", url) as api:
        assert causes_of(api, [1]) == [None]
        process.kill()
        process.wait(timeout=10)
        with redis_at(url, tmp_path, *slow), redis.Redis.from_url(url) as client:
            until(lambda: is_loading(client), "Redis loads")
            load = Load(port_of(api))
            load.run(50)
            assert is_loading(client)
            assert set(load.causes) == {"store_unavailable"}
            until_full(api, bulk=False)
        assert api.stop() == 0


def is_loading(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.BusyLoadingError:
        return True
    except redis.ConnectionError:
        return False
    return False


@contextmanager
def between(url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before Redis, in a thread of its own, and its address."""
    loop = asyncio.new_event_loop()
    made: list[tuple[Proxy, str]] = []
    is_up, ended = threading.Event(), asyncio.Event()

    async def run() -> None:
        async with proxied(url) as (proxy, address):
            made.append((proxy, address))
            is_up.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    is_up.wait(timeout=10)
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def test_replies_that_come_after_the_deadline_are_nobodys(redis_url: str, tmp_path: Path) -> None:
    fill(redis_url)
    late = {
        "FORESEND_SERVING_REDIS_READ_TIMEOUT_S": "0.2",
        "FORESEND_SERVING_REDIS_BULK_TIMEOUT_S": "0.2",
    }
    with between(redis_url) as (proxy, address), serving(tmp_path / "home", address, **late) as api:
        until_full(api)
        proxy.delay_s = 0.4
        load = Load(port_of(api))
        load.run()
        assert set(load.causes) == {"store_unavailable"}
        proxy.delay_s = 0.0
        until_full(api)
        assert api.stop() == 0


def test_connections_cut_inside_replies_never_shift_an_answer_to_another_customer(
    redis_url: str, tmp_path: Path
) -> None:
    fill(redis_url)
    dice = random.Random(8)

    def torn(data: bytes) -> tuple[bytes, bool]:
        if dice.random() < 0.02:
            return data[: dice.randrange(len(data) + 1)], False
        return data, True

    with between(redis_url) as (proxy, address), serving(tmp_path / "home", address) as api:
        until_full(api)
        proxy.change = torn
        load = Load(port_of(api))
        load.run(10 * REQUESTS)
        assert set(load.causes) == {None, "store_unavailable"}
        proxy.change = lambda data: (data, True)
        until_full(api)
        assert api.stop() == 0
