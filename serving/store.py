"""Reading a request's customers from the feature store: the port, Redis, and a fake.

The async client of redis-py is used with short time limits and no retries: a request waits once,
for a tenth of a second at most by default, and is then answered in a declared, degraded way.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from feature_repo import contract, wire
from feature_repo.errors import ConfigError, StoreUnavailable
from feature_repo.online import loaded_key, read_command
from feature_repo.online_codec import Layout, arrange, decode
from serving.encoder import Columns
from serving.settings import ServingSettings

LAST_EVENT_AT: Final = "last_event_at"
FAILURES_TO_OPEN: Final = 5
OPEN_S: Final = 0.5
_PING: Final = b"*1\r\n$4\r\nPING\r\n"


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds of some customers, in the order they were asked for."""

    #: Every stored column scoring needs: numbers with NaN, texts with None where unknown.
    columns: Columns
    #: Knowledge time of the newest view, epoch seconds; NaN when there is none.
    known_at: npt.NDArray[np.float64]
    #: Whether anything is stored of the customer.
    found: npt.NDArray[np.bool_]
    #: How far the whole store is complete; None: it does not say.
    through: datetime | None


class FeatureStore(Protocol):
    """Port: the stored features of customers."""

    async def read(self, customer_ids: Sequence[str]) -> Stored:
        """What is held of the customers; it must fail rather than keep a request waiting.

        Raises:
            StoreUnavailable: it did not answer in time, or not as a feature store.
        """

    async def ping(self) -> None:
        """Return when the store answers.

        Raises:
            StoreUnavailable: it does not.
        """

    async def close(self) -> None:
        """Let go of connections."""


@dataclass
class Breaker:
    """Stops asking a store that keeps failing, and lets one caller in a while try again."""

    monotonic: Callable[[], float] = time.monotonic
    failures: int = 0
    retry_at: float = 0.0

    def allows(self) -> bool:
        """Whether to ask now. When it has been open long enough, the asking caller is the probe."""
        if self.failures < FAILURES_TO_OPEN:
            return True
        now = self.monotonic()
        if now < self.retry_at:
            return False
        self.retry_at = now + OPEN_S
        return True

    def succeeded(self) -> None:
        """The store answered."""
        self.failures = 0

    def failed(self) -> None:
        """The store did not answer."""
        self.failures += 1
        self.retry_at = self.monotonic() + OPEN_S


class _Connection(Protocol):
    """What is used of a redis-py connection, which is not fully typed."""

    async def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...

    async def read_response(self, *, disable_decoding: bool) -> Any: ...


def scoring_layout(project: str) -> Layout:
    """The stored columns that scoring reads: those of the models, and the newest event's time."""
    views = dict(contract.ONLINE_COLUMNS)
    names = (*views[contract.ACTIVITY], LAST_EVENT_AT)
    return Layout(project, {**views, contract.ACTIVITY: tuple(dict.fromkeys(names))})


class RedisStore:
    """Feast's layout in Redis: one round trip for all customers of a request."""

    def __init__(self, url: str, *, project: str, settings: ServingSettings) -> None:
        self._layout = scoring_layout(project)
        note = wire.bulk(loaded_key(project).encode())
        self._get_loaded = b"*2\r\n" + wire.bulk(b"GET") + note
        self._shown = (
            urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()
        )
        self._breaker = Breaker()
        try:
            self._pool: Any = redis_asyncio.BlockingConnectionPool.from_url(
                url,
                max_connections=settings.redis_connections,
                timeout=settings.redis_read_timeout_s,
                socket_connect_timeout=settings.redis_connect_timeout_s,
                socket_timeout=settings.redis_read_timeout_s,
                retry=Retry(NoBackoff(), 0),
                driver_info=None,
            )
        except ValueError as exc:
            message = f"FORESEND_REDIS_URL {self._shown!r} cannot be used: {exc}."
            raise ConfigError(message) from exc

    async def read(self, customer_ids: Sequence[str]) -> Stored:
        """One HGETALL per customer and the note of the last load, in one pipeline."""
        if not self._breaker.allows():
            message = f"Redis at {self._shown} keeps failing; it is tried again every {OPEN_S} s."
            raise StoreUnavailable(message)
        try:
            replies = await self._ask(customer_ids)
        except StoreUnavailable:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        rows = decode(self._layout, arrange(self._layout, replies[:-1]))
        return Stored(
            columns=rows.columns,
            known_at=np.fmax.reduce(list(rows.known_at.values())),
            found=rows.found,
            through=_through(replies[-1]),
        )

    async def ping(self) -> None:
        """PING, past the breaker."""
        try:
            async with self._borrowed() as connection:
                await connection.send_packed_command([_PING], check_health=False)
                await connection.read_response(disable_decoding=True)
        except (RedisError, OSError) as exc:
            raise StoreUnavailable(self._message(exc)) from exc

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.disconnect()

    async def _ask(self, customer_ids: Sequence[str]) -> list[Any]:
        buffer = read_command(self._layout, customer_ids) + self._get_loaded
        try:
            async with self._borrowed() as connection:
                await connection.send_packed_command([buffer], check_health=False)
                read = connection.read_response
                count = len(customer_ids) + 1
                replies = [await read(disable_decoding=True) for _ in range(count)]
        except (RedisError, OSError) as exc:
            raise StoreUnavailable(self._message(exc)) from exc
        if not all(isinstance(reply, list) for reply in replies[:-1]):
            raise StoreUnavailable(self._message("not the reply of a HGETALL"))
        return replies

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[_Connection]:
        """A connection of the pool; closed when anything fails or the caller is cancelled, since
        replies that are left in it would answer the next request."""
        held = await self._pool.get_connection()
        finished = False
        try:
            yield held
            finished = True
        finally:
            if not finished:
                await held.disconnect(nowait=True)
            await self._pool.release(held)

    def _message(self, cause: object) -> str:
        what = f"{type(cause).__name__}: {cause}" if isinstance(cause, Exception) else cause
        return f"Redis at {self._shown} does not answer ({what}). Check FORESEND_REDIS_URL."


def _through(note: bytes | None) -> datetime | None:
    """How far the last load reached, None when the note is absent or not one of ours."""
    if note is None:
        return None
    try:
        through = datetime.fromisoformat(json.loads(note)["through"])
    except (ValueError, KeyError, TypeError):
        return None
    return through if through.tzinfo is not None else None


@dataclass
class MemoryStore:
    """A feature store in memory, for tests and trials."""

    #: Stored columns by customer; what is left out is unknown.
    customers: dict[str, Mapping[str, float | str]] = field(default_factory=dict)
    #: Knowledge time of each customer's features, epoch seconds; 0.0 when left out.
    known_at: dict[str, float] = field(default_factory=dict)
    through: datetime | None = None
    #: Why it does not answer; None: it does.
    down: str | None = None
    reads: int = 0

    async def read(self, customer_ids: Sequence[str]) -> Stored:
        """What was put in."""
        await self.ping()
        self.reads += 1
        names = [name for view in scoring_layout("memory").views.values() for name in view]
        held = [self.customers.get(customer, {}) for customer in customer_ids]
        found = np.array([customer in self.customers for customer in customer_ids], dtype=np.bool_)
        times = [
            self.known_at.get(customer, 0.0) if customer in self.customers else np.nan
            for customer in customer_ids
        ]
        columns = {name: _column(name, [row.get(name) for row in held]) for name in names}
        return Stored(columns, np.array(times), found, self.through)

    async def ping(self) -> None:
        """Answer unless it is down."""
        if self.down is not None:
            raise StoreUnavailable(self.down)

    async def close(self) -> None:
        """Nothing to let go of."""


def _column(name: str, values: Sequence[float | str | None]) -> npt.NDArray[Any]:
    if name in contract.TEXT_FEATURES:
        return np.array(values, dtype=object)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
