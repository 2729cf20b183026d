"""Reading a request's customers from the feature store: the port, Redis, and a fake.

A request waits once, for 13 ms by default, and is then answered in a declared, degraded way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np

from feature_repo.errors import StoreUnavailable
from serving.online.address import parse
from serving.online.lane import Lane
from serving.online.reading import Reading
from serving.online.stored import LAST_EVENT_AT, NUMBERS, TEXTS, VIEWS, Stored, scoring_layout
from serving.settings import ServingSettings

__all__ = [
    "LAST_EVENT_AT",
    "NUMBERS",
    "TEXTS",
    "VIEWS",
    "FeatureStore",
    "MemoryStore",
    "RedisStore",
    "Stored",
    "scoring_layout",
]


class FeatureStore(Protocol):
    """Port: the stored features of customers."""

    async def read(self, customer_ids: Sequence[str], *, bulk: bool = False) -> Stored:
        """What is held of the customers; it must fail rather than keep a request waiting.

        `bulk` reads may wait longer and never delay the others.

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


class RedisStore:
    """Feast's layout in Redis, over two connections: one for bulk reads, one for all others.

    Each has its own deadline and breaker. Belongs to the event loop it is first used in.
    """

    def __init__(self, url: str, *, project: str, settings: ServingSettings) -> None:
        """Raises ConfigError when the URL cannot be used. Connects when first asked."""
        address = parse(url)
        connect_s = settings.redis_connect_timeout_s
        self._reading = Reading(project)
        check = self._reading.check
        self._singles, self._bulk = (
            Lane(address, check, read_timeout_s=read_s, connect_timeout_s=connect_s)
            for read_s in (settings.redis_read_timeout_s, settings.redis_bulk_timeout_s)
        )

    async def read(self, customer_ids: Sequence[str], *, bulk: bool = False) -> Stored:
        """All customers and the note of the last load, in one pipeline."""
        reading = self._reading
        lane = self._bulk if bulk else self._singles
        commands, replies = reading.commands(customer_ids), reading.replies(customer_ids)
        return await lane.ask(commands, replies, reading.stored)

    async def ping(self) -> None:
        """A read of nobody, on the connection of single reads."""
        await self._singles.ping()

    async def close(self) -> None:
        """Close both connections; reads under way fail."""
        await self._singles.close()
        await self._bulk.close()


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

    async def read(self, customer_ids: Sequence[str], *, bulk: bool = False) -> Stored:
        """What was put in."""
        await self.ping()
        self.reads += 1
        held = [self.customers.get(customer, {}) for customer in customer_ids]
        known_at = np.array(
            [
                self.known_at.get(customer, 0.0) if customer in self.customers else np.nan
                for customer in customer_ids
            ],
            dtype=np.float64,
        )
        numbers = [[row.get(name, np.nan) for row in held] for name in NUMBERS]
        texts = [[row.get(name) for row in held] for name in TEXTS]
        return Stored(
            numbers=np.array(numbers, dtype=np.float64),
            texts=tuple(np.array(column, dtype=object) for column in texts),
            known_at=known_at,
            view_known_at=np.tile(known_at, (len(VIEWS), 1)),
            found=~np.isnan(known_at),
            through=self.through,
        )

    async def ping(self) -> None:
        """Answer unless it is down."""
        if self.down is not None:
            raise StoreUnavailable(self.down)

    async def close(self) -> None:
        """Nothing to let go of."""
