"""Batches of 100 events: folded by the online group, against Feast's `push` of the same rows.

Ours takes events, finds out what they change and writes it by compare-and-set. Feast is given the
finished rows of the same customers, as data frames, and writes them; folding is not its part.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import pandas as pd
from feast import (
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    ValueType,
)
from feast.types import String

from feature_repo import contract, online
from feature_repo.event import Event, EventType
from feature_repo.online_codec import all_columns
from feature_repo.settings import Settings
from feature_repo.stream.online_handler import OnlineHandler
from feature_repo.views import FOREVER, field
from infra.bench.redis_server import redis_server
from infra.bench.stock_feast import bare_store

BATCH: Final = 100
BATCHES: Final = 30
LARGE_BATCH: Final = 10_000
LARGE_BATCHES: Final = 3
START: Final = datetime(2026, 1, 1, tzinfo=UTC)

_VIEWS: Final = (contract.ACTIVITY, contract.CUSTOMER_PROFILE)
_KINDS: Final = (
    EventType.SENT,
    EventType.DELIVERED,
    EventType.OPENED,
    EventType.CLICKED,
    EventType.BROWSED,
    EventType.PURCHASED,
)
_HISTORY: Final = 6


def run(workdir: Path) -> dict[str, Any]:
    """Events per second of both: 100 customers per batch, 30 of them, and 10,000."""
    with redis_server(workdir) as url, online.connect(url) as client:
        settings = Settings(home=workdir / "home", redis_url=url, project="bench")
        handler = OnlineHandler(settings, client, lambda: datetime.now(UTC))
        duel = _Duel(
            handler, online.OnlineReader(client, all_columns("bench")), _stock(workdir, url)
        )
        apart = duel.fight(BATCH, customers=BATCH, batches=BATCHES)
        mixed = duel.fight(BATCH, customers=30, batches=BATCHES)
        large = duel.fight(LARGE_BATCH, customers=LARGE_BATCH, batches=LARGE_BATCHES)
    ours, baseline = apart
    return {
        "ours": ours,
        "baseline": baseline,
        "ratio": ours / baseline,
        "unit": "events/s",
        "mixed": round(mixed[0]),
        "mixed_ratio": round(mixed[0] / mixed[1], 2),
        "large": round(large[0]),
        "large_ratio": round(large[0] / large[1], 2),
    }


def push_rows_per_s(workdir: Path, rows: int) -> float:
    """Customers per second whose rows of both views Feast takes in, pushed `rows` at a time."""
    workdir.mkdir(parents=True, exist_ok=True)
    with redis_server(workdir) as url, online.connect(url) as client:
        settings = Settings(home=workdir / "home", redis_url=url, project="bench")
        handler = OnlineHandler(settings, client, lambda: datetime.now(UTC))
        reader = online.OnlineReader(client, all_columns("bench"))
        duel = _Duel(handler, reader, _stock(workdir, url))
        return duel.fight(rows, customers=rows, batches=LARGE_BATCHES)[1]


class _Duel:
    """Both ways, in turn, over the same customers."""

    def __init__(
        self, handler: OnlineHandler, reader: online.OnlineReader, stock: FeatureStore
    ) -> None:
        self._handler = handler
        self._reader = reader
        self._stock = stock
        self._day = 0

    def fight(self, size: int, *, customers: int, batches: int) -> tuple[float, float]:
        """Events per second of the median batch, ours and Feast's."""
        for _ in range(_HISTORY):
            self._handler.handle(self._events(size, customers))
        ours, theirs = [], []
        for _ in range(batches):
            events = self._events(size, customers)
            started = time.perf_counter()
            self._handler.handle(events)
            ours.append(time.perf_counter() - started)
            frames = [*self._frames(list(dict.fromkeys(event.customer_id for event in events)))]
            started = time.perf_counter()
            for view, frame in frames:
                self._stock.push(f"{view}_push", frame)
            theirs.append(time.perf_counter() - started)
        return size / median(ours), size / median(theirs)

    def _events(self, size: int, customers: int) -> list[Event]:
        """One more day's events; who does what changes from day to day."""
        self._day += 1
        day = START + timedelta(days=self._day)
        return [
            Event(
                event_id=f"sendgrid:{self._day}-{number}",
                type=(kind := _KINDS[(number + self._day) % len(_KINDS)]),
                customer_id=f"customer-{number % customers:07d}",
                event_time=day + timedelta(milliseconds=number),
                received_time=day + timedelta(minutes=1),
                provider="sendgrid",
                provider_event=kind.value,
                campaign_id=f"campaign-{self._day}",
                message_id=f"message-{self._day}-{number}",
                mailbox_provider="google",
                country="GB",
                utc_offset_minutes=60,
                amount=12.5 if kind is EventType.PURCHASED else None,
                currency="GBP" if kind is EventType.PURCHASED else None,
                raw_ref=f"raw-1:{number}#0",
            )
            for number in range(size)
        ]

    def _frames(self, customers: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """What the handler wrote, as the rows that Feast is to write."""
        rows = self._reader.read(customers)
        for view in _VIEWS:
            columns = {name: rows.columns[name] for name in contract.VIEWS[view]}
            known = pd.to_datetime(np.round(rows.known_at[view]), unit="s", utc=True)
            times = {contract.EVENT_TIMESTAMP: known, contract.CREATED_TIMESTAMP: known}
            yield view, pd.DataFrame({contract.ENTITY: customers, **times, **columns})


def _stock(workdir: Path, url: str) -> FeatureStore:
    """Feast's own Redis store, with a push source per view."""
    store = bare_store("stock", workdir / "stock.db", url)
    customer = Entity(name="customer", join_keys=[contract.ENTITY], value_type=ValueType.STRING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.apply([customer, *(_view(workdir, customer, view) for view in _VIEWS)])
    return store


def _view(workdir: Path, customer: Entity, name: str) -> FeatureView:
    table = FileSource(
        name=f"{name}_table",
        path=str(workdir / f"{name}.parquet"),
        timestamp_field=contract.EVENT_TIMESTAMP,
        created_timestamp_column=contract.CREATED_TIMESTAMP,
    )
    return FeatureView(
        name=name,
        entities=[customer],
        ttl=FOREVER,
        schema=[Field(name=contract.ENTITY, dtype=String), *map(field, contract.VIEWS[name])],
        source=PushSource(name=f"{name}_push", batch_source=table),
    )
