"""What a customer costs Redis: bytes by view and by the stream's state, and time to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
import redis

from feature_repo import contract, online
from feature_repo.event import Event, EventType
from feature_repo.online_codec import STREAM_FIELD, all_columns
from feature_repo.settings import Settings
from feature_repo.stream.online_handler import OnlineHandler
from infra.bench.feature_data import customer_id, view_rows
from infra.bench.redis_reads import read_costs
from infra.bench.redis_server import redis_server
from serving.online.address import command

CUSTOMERS: Final = 4_000
EVENTS_EACH: Final = 40
"""Mean; most have fewer, some have hundreds."""

UNTIL: Final = datetime(2026, 5, 1, tzinfo=UTC)
PROJECT: Final = "bench"
_LONGEST: Final = "hash-max-ziplist-value"
_OURS: Final = "4096"
"""What `foresend up` starts Redis with."""

_DEFAULT: Final = "64"
_BATCH: Final = 2_000
_KINDS: Final = (EventType.SENT, EventType.DELIVERED, EventType.OPENED, EventType.CLICKED)


def run(workdir: Path, customers: int = CUSTOMERS) -> dict[str, Any]:
    """Bytes of Redis per customer with all views and the stream's state: set as `foresend up` sets
    Redis, against Redis' defaults.

    `bytes_loaded` are the views as a load writes them into an empty Redis, where what is missing
    takes nothing; `bytes_alive` are customers that the stream keeps, missing values as Feast
    writes them. Each is what it adds to those before it, keys and Redis' own tables included.
    """
    settings = Settings(home=workdir / "home", project=PROJECT)
    names = [customer_id(number) for number in range(customers)]
    with redis_server(workdir) as url, online.connect(url) as client:
        client.config_set(_LONGEST, _OURS)
        loaded = _loaded(client, names, sparse=True)
        dense = _loaded(client, names, sparse=False)
        client.config_set(_LONGEST, _DEFAULT)
        baseline = sum(_alive(settings, client, names).values())
        client.config_set(_LONGEST, _OURS)
        alive = _alive(settings, client, names)
        ours = sum(alive.values())
        reads = read_costs(url, PROJECT, names)
    return {
        "ours": ours,
        "baseline": baseline,
        "ratio": ours / baseline,
        "unit": "bytes/customer",
        "customers": customers,
        "bytes_loaded": loaded,
        "bytes_loaded_with_missing": dense,
        "bytes_alive": alive,
        "reads": reads,
    }


def _loaded(client: redis.Redis, names: Sequence[str], *, sparse: bool) -> dict[str, int]:
    """Bytes per customer that each view adds, into an empty Redis."""
    client.flushall()
    writer = online.OnlineWriter(client, all_columns(PROJECT), sparse=sparse)
    added = {}
    with _Meter(client, len(names)) as meter:
        for view in contract.VIEWS:
            writer.write(view, _rows(view, names))
            added[view] = meter.added()
    return added


def _alive(settings: Settings, client: redis.Redis, names: Sequence[str]) -> dict[str, int]:
    """Bytes per customer of the views the stream keeps, of its state, and of the daily views."""
    client.flushall()
    handler = OnlineHandler(settings, client, lambda: UNTIL)
    with _Meter(client, len(names)) as meter:
        for batch in _batches(names):
            handler.handle(batch)
        streamed = meter.added()
        writer = online.OnlineWriter(client, all_columns(PROJECT))
        added: dict[str, int] = {}
        for view in contract.VIEWS:
            if view not in contract.STREAMED_VIEWS:
                writer.write(view, _rows(view, names))
                added[view] = meter.added()
        state = meter.without(STREAM_FIELD, all_columns(PROJECT).keys(names))
    return {"+".join(contract.STREAMED_VIEWS): streamed - state, "stream": state, **added}


class _Meter:
    """Bytes per customer by which Redis has grown."""

    def __init__(self, client: redis.Redis, customers: int) -> None:
        self._client = client
        self._customers = customers
        self._before = 0

    def __enter__(self) -> _Meter:
        self._before = self._used()
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def added(self) -> int:
        """Since it was last asked."""
        now = self._used()
        grown, self._before = now - self._before, now
        return round(grown / self._customers)

    def without(self, field: bytes, keys: Sequence[bytes]) -> int:
        """What a field takes: it is deleted everywhere, and put back."""
        held = self._tell([command(b"HGET", key, field) for key in keys])
        self._tell([command(b"HDEL", key, field) for key in keys])
        freed = -self.added()
        self._tell(
            [
                command(b"HSET", key, field, value)
                for key, value in zip(keys, held, strict=True)
                if value is not None
            ]
        )
        return freed

    def _tell(self, commands: Sequence[bytes]) -> list[Any]:
        return online.exchange(self._client, [(b"".join(commands), len(commands))])

    def _used(self) -> int:
        told = cast("Mapping[str, Any]", self._client.info("memory"))
        return int(told["used_memory"])


def _rows(view: str, names: Sequence[str]) -> pa.Table:
    rng = np.random.default_rng([*contract.VIEWS].index(view))
    return view_rows(rng, view, [*names], versions=1, until=UNTIL)


def _batches(names: Sequence[str]) -> Iterator[list[Event]]:
    """Events of a year: most customers have few, some have hundreds."""
    rng = np.random.default_rng(1)
    counts = rng.geometric(1 / EVENTS_EACH, len(names))
    owners = rng.permutation(np.repeat(np.arange(len(names)), counts))
    ages = np.sort(rng.uniform(0, 365 * 86_400, len(owners)))[::-1]
    kinds = rng.choice(len(_KINDS), len(owners), p=(0.4, 0.38, 0.18, 0.04))
    for start in range(0, len(owners), _BATCH):
        yield [
            Event(
                event_id=f"event-{number}",
                type=_KINDS[kinds[number]],
                customer_id=names[owners[number]],
                event_time=UNTIL - timedelta(seconds=float(ages[number])),
                received_time=UNTIL - timedelta(seconds=float(ages[number]) - 1),
                country="GB",
                mailbox_provider="google",
            )
            for number in range(start, min(start + _BATCH, len(owners)))
        ]
