"""The reader of Redis behind a connection that is slow, frozen, cut or lying."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hiredis
import numpy as np
import pyarrow as pa
import pytest
import redis
import uvloop

from feature_repo import contract
from feature_repo.errors import StoreUnavailable
from feature_repo.online import OnlineWriter, connect, loaded_key
from feature_repo.online_codec import all_columns
from serving.online.bulk_reader import CHUNK, BulkReader
from serving.settings import ServingSettings
from serving.store import NUMBERS, RedisStore, Stored
from tests.conftest import _free_port, _redis_binary
from tests.integration.test_serving_store import own_redis as own_redis

pytestmark = pytest.mark.integration

PROJECT = "shop"
KNOWN = datetime(2026, 11, 24, 6, tzinfo=UTC)
CUSTOMERS = 300
OPENS = NUMBERS.index("opens_total")


def fill(url: str, customers: int = CUSTOMERS) -> None:
    """Customers who are told apart by a number: customer-7 has 7 opens."""
    table = pa.table(
        {
            contract.ENTITY: [f"customer-{i}" for i in range(customers)],
            contract.EVENT_TIMESTAMP: pa.array([KNOWN] * customers, pa.timestamp("us", tz="UTC")),
            "opens_total": [float(i) for i in range(customers)],
        }
    )
    with connect(url) as client:
        OnlineWriter(client, all_columns(PROJECT)).write(contract.ACTIVITY, table)
        client.set(loaded_key(PROJECT), json.dumps({"through": KNOWN.isoformat()}))


def opens(stored: Stored) -> list[float]:
    numbers: list[float] = stored.numbers[OPENS].tolist()
    return numbers


@dataclass
class Proxy:
    """Stands between a reader and Redis, and does with the replies what a test wants."""

    target: int
    port: int = 0
    #: What becomes of a piece of a reply; None: the connection is closed behind it.
    change: Callable[[bytes], tuple[bytes, bool]] = lambda data: (data, True)
    #: Seconds by which each piece is held back.
    delay_s: float = 0.0
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    #: Said to every command instead of what Redis says.
    says: bytes | None = None
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self.writers += [writer, ours]
        asking = asyncio.ensure_future(self._commands(reader, writer, ours))
        with suppress(ConnectionError):
            while data := await theirs.read(1 << 12):
                await asyncio.sleep(self.delay_s)
                await self.flowing.wait()
                data, goes_on = self.change(data)
                writer.write(data)
                if not goes_on:
                    break
                await writer.drain()
        asking.cancel()
        writer.close()
        ours.close()

    async def _commands(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        onward: asyncio.StreamWriter,
    ) -> None:
        parser = hiredis.Reader()
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if self.says is None:
                    onward.write(data)
                    continue
                parser.feed(data)
                while parser.gets() is not False:
                    back.write(self.says)
        onward.close()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    proxy = Proxy(urlsplit(url).port or 0)
    proxy.flowing.set()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield proxy, f"redis://127.0.0.1:{port}/0"
    finally:
        server.close()
        proxy.flowing.set()
        for writer in proxy.writers:
            writer.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0.05)


def behind(
    url: str, test: Callable[[Proxy, RedisStore], Awaitable[Any]], read_timeout_s: float = 0.3
) -> Any:
    """What the test says of a store that reads through a proxy."""

    async def run() -> Any:
        async with proxied(url) as (proxy, address):
            settings = ServingSettings(
                redis_read_timeout_s=read_timeout_s,
                redis_bulk_timeout_s=5.0,
                redis_connect_timeout_s=1.0,
            )
            store = RedisStore(address, project=PROJECT, settings=settings)
            try:
                return await test(proxy, store)
            finally:
                await store.close()

    return asyncio.run(run())


async def read_when_back(store: RedisStore, customers: list[str]) -> Stored:
    while True:
        try:
            return await store.read(customers)
        except StoreUnavailable:
            await asyncio.sleep(0.01)


def test_no_reader_ever_gets_what_another_asked_for(redis_url: str) -> None:
    fill(redis_url)
    dice = random.Random(4)

    async def test(proxy: Proxy, store: RedisStore) -> tuple[int, int]:
        async def one(number: int) -> None:
            numbers = [(number * 7 + i) % CUSTOMERS for i in range(dice.choice((1, 3, 40)))]
            names = [f"customer-{i}" for i in numbers]
            assert opens(await store.read(names, bulk=number % 5 == 0)) == numbers

        good = cancelled = 0
        for turn in range(30):
            proxy.delay_s = dice.choice((0.0, 0.001))
            readers = [asyncio.create_task(one(turn * 20 + i)) for i in range(20)]
            await asyncio.sleep(dice.random() * 0.004)
            for reader in readers[:: dice.choice((2, 3, 7))]:
                reader.cancel()
            for done in await asyncio.gather(*readers, return_exceptions=True):
                assert done is None or isinstance(done, asyncio.CancelledError), done
                good, cancelled = good + (done is None), cancelled + (done is not None)
        return good, cancelled

    good, cancelled = behind(redis_url, test, read_timeout_s=30.0)

    assert good > 100
    assert cancelled > 20


def test_late_replies_are_nobodys(redis_url: str) -> None:
    fill(redis_url)

    async def test(proxy: Proxy, store: RedisStore) -> Stored:
        await store.read(["customer-1"])
        proxy.flowing.clear()
        with pytest.raises(StoreUnavailable, match="in time"):
            await store.read(["customer-2"])
        proxy.flowing.set()
        return await store.read(["customer-3"])

    assert opens(behind(redis_url, test)) == [3.0]


def test_a_frozen_connection_is_replaced_once_it_flows_again(redis_url: str) -> None:
    fill(redis_url)

    async def test(proxy: Proxy, store: RedisStore) -> Stored:
        await store.read(["customer-1"])
        proxy.flowing.clear()
        told = []
        for _ in range(6):
            with pytest.raises(StoreUnavailable) as caught:
                await store.read(["customer-2"])
            told.append("keeps failing" in str(caught.value))
        assert told == [False] * 3 + [True] * 3
        proxy.flowing.set()
        return await read_when_back(store, ["customer-3"])

    assert opens(behind(redis_url, test, read_timeout_s=0.1)) == [3.0]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_loop_that_was_held_up_still_reads_what_has_come(redis_url: str, loop: Any) -> None:
    fill(redis_url)

    async def run() -> Stored:
        settings = ServingSettings(redis_read_timeout_s=0.05, redis_connect_timeout_s=5.0)
        store = RedisStore(redis_url, project=PROJECT, settings=settings)
        await read_when_back(store, ["customer-1"])
        one, other = socket.socketpair()
        with one, other:

            def hold_up() -> None:
                one.recv(1)
                time.sleep(0.3)

            # From where sockets are read: of both loops, one runs its timers next.
            asyncio.get_running_loop().add_reader(one, hold_up)
            reading = asyncio.create_task(store.read(["customer-2"]))
            await asyncio.sleep(0)
            other.send(b"x")
            try:
                return await reading
            finally:
                asyncio.get_running_loop().remove_reader(one)
                await store.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        assert opens(runner.run(run())) == [2.0]


@pytest.mark.parametrize("after", [0, 1, 100])
def test_a_reply_that_is_cut_is_no_reply(redis_url: str, after: int) -> None:
    fill(redis_url)

    async def test(proxy: Proxy, store: RedisStore) -> Stored:
        await store.read(["customer-1"])
        proxy.change = lambda data: (data[:after], False)
        with pytest.raises(StoreUnavailable, match=r"closed|broke"):
            await store.read(["customer-2"])
        proxy.change = lambda data: (data, True)
        return await read_when_back(store, ["customer-3"])

    assert opens(behind(redis_url, test)) == [3.0]


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "MASTERDOWN"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "OOM"),
        (b"-READONLY You can't write against a read only replica.\r\n", "READONLY"),
        (b"-MOVED 866 127.0.0.1:7001\r\n", "MOVED"),
        (b"-NOAUTH Authentication required.\r\n", "NOAUTH"),
        # Replies of the wrong form.
        (b"+OK\r\n", "out of step"),
        (b":1\r\n", "out of step"),
        (b"*0\r\n", "out of step"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "protocol"),
    ],
)
def test_what_is_no_reply_to_the_question_is_a_failure(
    redis_url: str, says: bytes, told: str
) -> None:
    fill(redis_url)

    async def test(proxy: Proxy, store: RedisStore) -> Stored:
        await store.read(["customer-1"])
        proxy.says = says
        with pytest.raises(StoreUnavailable, match=told):
            await store.read(["customer-2"])
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.read(["customer-2"])
        proxy.says = None
        return await read_when_back(store, ["customer-3"])

    assert opens(behind(redis_url, test)) == [3.0]


def test_a_slow_bulk_read_does_not_hold_up_the_others(redis_url: str) -> None:
    fill(redis_url)

    async def test(proxy: Proxy, store: RedisStore) -> list[str]:
        await store.read(["customer-1"])
        await store.read(["customer-1"], bulk=True)
        order = []

        async def read(name: str, customers: list[str], bulk: bool) -> None:
            await store.read(customers, bulk=bulk)
            order.append(name)

        proxy.delay_s = 0.02
        bulk = asyncio.create_task(read("bulk", ["customer-1"] * 250, True))
        await asyncio.sleep(0)
        await read("single", ["customer-2"], False)
        await bulk
        return order

    assert behind(redis_url, test, read_timeout_s=5.0) == ["single", "bulk"]


def test_a_redis_that_came_back_empty_knows_nobody_and_says_nothing_of_a_load(
    own_redis: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    url, process = own_redis
    fill(url)
    port = urlsplit(url).port or 0

    async def test(proxy: Proxy, store: RedisStore) -> tuple[Stored, Stored]:
        before = await store.read(["customer-1"])
        process.kill()
        process.wait(timeout=10)
        for _ in range(4):
            with pytest.raises(StoreUnavailable):
                await store.read(["customer-1"])
        command = [_redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        second = subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
        try:
            return before, await read_when_back(store, ["customer-1", "customer-2"])
        finally:
            second.kill()
            second.wait(timeout=10)

    before, after = behind(url, test)

    assert (before.found.tolist(), before.through) == ([True], KNOWN)
    assert (after.found.tolist(), after.through) == ([False, False], None)


@pytest.fixture
def secured(tmp_path: Path) -> Any:
    """Options of a Redis with a user, a password and a Unix socket."""
    return ["--requirepass", "sesame", "--unixsocket", str(tmp_path / "r.sock")]


def started(options: list[str], folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [_redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    return subprocess.Popen([*command, *options, "--dir", str(folder)], stdout=subprocess.DEVNULL)


def test_password_database_and_unix_socket(tmp_path: Path, secured: list[str]) -> None:
    port = _free_port()
    process = started(secured, tmp_path, port)
    places = [f"redis://:sesame@127.0.0.1:{port}/3", f"unix://:sesame@{tmp_path}/r.sock?db=3"]
    try:
        with redis.Redis(port=port, password="sesame") as client:
            while True:
                with suppress(redis.ConnectionError):
                    client.ping()
                    break
        fill(places[0])
        for url in (*places, f"redis://default:sesame@127.0.0.1:{port}/3"):
            assert opens(read_once(url)) == [7.0]
            with BulkReader(url, PROJECT) as bulk:
                assert opens(bulk.read(["customer-7"])) == [7.0]
        with pytest.raises(StoreUnavailable, match="NOAUTH") as caught:
            read_once(f"redis://127.0.0.1:{port}/3")
        with pytest.raises(StoreUnavailable, match=r"WRONGPASS|ERR invalid password") as other:
            read_once(f"redis://:wrong@127.0.0.1:{port}/3")
    finally:
        process.kill()
        process.wait(timeout=10)

    assert "sesame" not in str(caught.value)
    assert "wrong@" not in str(other.value)


def read_once(url: str) -> Stored:
    async def read() -> Stored:
        settings = ServingSettings(redis_read_timeout_s=5.0, redis_connect_timeout_s=5.0)
        store = RedisStore(url, project=PROJECT, settings=settings)
        try:
            return await store.read(["customer-7"])
        finally:
            await store.close()

    return asyncio.run(read())


def test_the_bulk_reader_reads_any_number_in_order(redis_url: str) -> None:
    fill(redis_url)
    numbers = [(i * 31) % (CUSTOMERS + 20) for i in range(3 * CHUNK + 5)]

    with BulkReader(redis_url, PROJECT) as reader:
        stored = reader.read([f"customer-{i}" for i in numbers])
        again = reader.read([])

    assert stored.found.tolist() == [i < CUSTOMERS for i in numbers]
    held = stored.numbers[OPENS][stored.found]
    np.testing.assert_array_equal(held, [i for i in numbers if i < CUSTOMERS])
    assert stored.through == KNOWN
    assert again.numbers.shape == (len(NUMBERS), 0)


def test_the_bulk_reader_outlives_a_connection_that_redis_closed(redis_url: str) -> None:
    fill(redis_url)

    with BulkReader(redis_url, PROJECT) as reader, redis.Redis.from_url(redis_url) as client:
        reader.read(["customer-1"])
        client.client_kill_filter(_type="normal", skipme=True)
        assert opens(reader.read(["customer-2"])) == [2.0]


def test_the_bulk_reader_fails_in_words_and_without_the_password(redis_url: str) -> None:
    with (
        BulkReader(f"redis://:secret@127.0.0.1:{_free_port()}/0", PROJECT) as reader,
        pytest.raises(StoreUnavailable, match="does not answer") as caught,
    ):
        reader.read(["customer-1"])

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("says", "told"),
    [(b"-LOADING wait\r\n", "LOADING"), (b"+OK\r\n", "out of step"), (b"SSH-2.0\r\n", "protocol")],
)
def test_the_bulk_reader_takes_no_odd_reply(redis_url: str, says: bytes, told: str) -> None:
    fill(redis_url)

    async def test() -> str:
        async with proxied(redis_url) as (proxy, address):
            with BulkReader(address, PROJECT, timeout_s=2.0) as reader:
                await asyncio.to_thread(reader.read, ["customer-1"])
                proxy.says = says
                with pytest.raises(StoreUnavailable) as caught:
                    await asyncio.to_thread(reader.read, ["customer-1"])
                proxy.says = None
                assert opens(await asyncio.to_thread(reader.read, ["customer-2"])) == [2.0]
        return str(caught.value)

    assert told in asyncio.run(test())


def test_tls_is_spoken_and_the_certificate_checked(redis_url: str, tmp_path: Path) -> None:
    fill(redis_url)
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-keyout", key, "-out", certificate, "-days", "2", "-nodes", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def test() -> None:
        proxy = Proxy(urlsplit(redis_url).port or 0)
        proxy.flowing.set()
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        known = f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}"
        try:
            for url, is_let_in in ((known, True), (f"rediss://localhost:{port}/0", False)):
                settings = ServingSettings(redis_read_timeout_s=5.0, redis_connect_timeout_s=5.0)
                store = RedisStore(url, project=PROJECT, settings=settings)
                if is_let_in:
                    assert opens(await store.read(["customer-5"])) == [5.0]
                    with BulkReader(url, PROJECT) as bulk:
                        assert opens(await asyncio.to_thread(bulk.read, ["customer-6"])) == [6.0]
                else:
                    with pytest.raises(StoreUnavailable, match="certificate"):
                        await store.read(["customer-5"])
                await store.close()
        finally:
            server.close()
            for writer in proxy.writers:
                writer.transport.abort()
            await server.wait_closed()
            await asyncio.sleep(0.05)

    asyncio.run(test())
