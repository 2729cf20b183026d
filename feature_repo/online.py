"""Bulk reads and writes of the online store, in Feast's layout and without Feast.

Commands go out as one buffer per chunk over a connection of the caller's client, so its address,
password, TLS and time limits hold; replies are read while the next chunk is being made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Protocol, cast

import pyarrow as pa
import redis

from feature_repo import wire
from feature_repo.errors import StoreUnavailable
from feature_repo.online_codec import Layout, OnlineRows, Reply, arrange, decode, encode

WRITE_CHUNK: Final = 1_000
"""Rows of one buffer, about 1 MB: the memory of a load does not grow with it."""

READ_CHUNK: Final = 1_000


def loaded_key(project: str) -> str:
    """Key of the note that says how far the online store is complete."""
    return f"foresend:{project}:loaded"


def read_loaded(client: redis.Redis, project: str) -> dict[str, Any] | None:
    """The note of the last complete load, or None when this Redis never had one."""
    raw = cast("bytes | None", client.get(loaded_key(project)))
    if raw is None:
        return None
    note: dict[str, Any] = json.loads(raw)
    return note


def connect(url: str) -> redis.Redis:
    """A client with time limits; what it raises is told as StoreUnavailable by `answers`."""
    return redis.Redis.from_url(url, socket_connect_timeout=5.0, socket_timeout=60.0)


@contextmanager
def answers() -> Iterator[None]:
    """Raise StoreUnavailable, with the cure, when Redis does not answer inside."""
    try:
        yield
    except redis.RedisError as exc:
        message = (
            f"Redis does not answer ({exc}). Start it with `foresend up`, or set "
            "FORESEND_REDIS_URL to the one that runs."
        )
        raise StoreUnavailable(message) from exc


class _Connection(Protocol):
    """What is used of a redis-py connection, which is not fully typed."""

    def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...

    def read_response(self, *, disable_decoding: bool) -> Any: ...

    def disconnect(self) -> None: ...


class OnlineWriter:
    """Writes rows as they are; whoever calls decides that they are the newest.

    `sparse` leaves missing values out: a third faster and smaller, and right only where nothing
    of the customers is there that would have to be replaced.
    """

    def __init__(self, client: redis.Redis, layout: Layout, *, sparse: bool = False) -> None:
        self._client = client
        self._layout = layout
        self._sparse = sparse

    def write(self, view: str, table: pa.Table) -> int:
        """Write each row over what the customer had of the view; returns the number of rows.

        Raises:
            redis.RedisError: the connection broke or Redis refused; some rows may be written.
        """
        return self.write_all([(view, table)])

    def write_all(self, tables: Iterable[tuple[str, pa.Table]]) -> int:
        """As `write`, for many tables of any views, which are taken one by one."""
        rows = in_flight = 0
        with _borrowed(self._client) as connection:
            for view, table in tables:
                for start in range(0, table.num_rows, WRITE_CHUNK):
                    chunk = table.slice(start, WRITE_CHUNK)
                    buffer = encode(self._layout, view, chunk, sparse=self._sparse)
                    # Sent before the last chunk's replies are read: Redis always has work waiting.
                    connection.send_packed_command([buffer], check_health=False)
                    _replies(connection, in_flight)
                    in_flight = chunk.num_rows
                rows += table.num_rows
            _replies(connection, in_flight)
        return rows


class OnlineReader:
    """Reads all columns of a layout, one command per customer and one round trip per thousand."""

    def __init__(self, client: redis.Redis, layout: Layout) -> None:
        self._client = client
        self._layout = layout

    def read(self, customer_ids: Sequence[str], at: datetime | None = None) -> OnlineRows:
        """What is known of the customers, in their order; see `online_codec.decode` for `at`.

        Raises:
            redis.RedisError: the connection broke or Redis refused.
        """
        return decode(self._layout, self.raw(customer_ids), at)

    def raw(self, customer_ids: Sequence[str]) -> list[Reply]:
        """The bytes of `layout.fields` of each customer, None for what is not there."""
        replies: list[Reply] = []
        with _borrowed(self._client) as connection:
            for start in range(0, len(customer_ids), READ_CHUNK):
                ids = customer_ids[start : start + READ_CHUNK]
                buffer = read_command(self._layout, ids)
                connection.send_packed_command([buffer], check_health=False)
                replies += arrange(self._layout, _replies(connection, len(ids)))
        return replies


def read_command(layout: Layout, customer_ids: Sequence[str]) -> bytes:
    """RESP of one HGETALL per customer; `online_codec.arrange` takes the replies."""
    head = b"*2\r\n" + wire.bulk(b"HGETALL")
    return b"".join(head + wire.bulk(key) for key in layout.keys(customer_ids))


def exchange(client: redis.Redis, commands: Iterable[tuple[bytes, int]]) -> list[Any]:
    """Send buffers of so many commands, each as soon as it is made, and return all replies.

    Of several buffers the replies must be short: nobody reads while there is still something to
    send.

    Raises:
        redis.RedisError: the connection broke or Redis refused; some may have been carried out.
    """
    replies = 0
    with _borrowed(client) as connection:
        for buffer, count in commands:
            connection.send_packed_command([buffer], check_health=False)
            replies += count
        return _replies(connection, replies)


@contextmanager
def _borrowed(client: redis.Redis) -> Iterator[_Connection]:
    """A connection of the client's pool; closed when anything fails, as replies may be left."""
    held = client.connection_pool.get_connection()
    connection = cast("_Connection", held)
    clean = False
    try:
        yield connection
        clean = True
    finally:
        if not clean:
            connection.disconnect()
        client.connection_pool.release(held)


def _replies(connection: _Connection, count: int) -> list[Any]:
    read = connection.read_response
    return [read(disable_decoding=True) for _ in range(count)]
