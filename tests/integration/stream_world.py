"""An installation in small: log, online store and the roles between them, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import redis

from feature_repo import contract, online
from feature_repo.event import Event, EventType
from feature_repo.history.build import build
from feature_repo.history.log_writer import LogWriter
from feature_repo.load import load
from feature_repo.online_codec import STREAM_FIELD, OnlineRows, all_columns
from feature_repo.settings import Settings
from feature_repo.stream import online_fields
from feature_repo.stream.online_epoch import corrected_key, owed_key
from feature_repo.stream.online_handler import OnlineHandler
from feature_repo.stream.online_state import decode, encode
from feature_repo.stream.recompute import Recompute, Recomputed

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = START + timedelta(days=100)
HOUR = timedelta(hours=1)

Fields = dict[bytes, bytes]


def event(event_id: str, customer: str = "ann", **changes: object) -> Event:
    """A click at START, received a minute later unless said otherwise."""
    at = changes.get("event_time", START)
    assert isinstance(at, datetime)
    fields = {"type": EventType.CLICKED, "event_time": at, "received_time": at + HOUR / 60}
    named = {"event_id": event_id, "customer_id": customer}
    return Event(**{**fields, **named, **changes})  # type: ignore[arg-type]  # any field


class World:
    """One installation over a Redis; `replica` is another online store over the same log."""

    def __init__(self, home: Path, client: redis.Redis, url: str, project: str = "shop") -> None:
        self.settings = Settings(home=home, redis_url=url, project=project, duckdb_threads=1)
        self.client = client
        self.now = NOW
        self.handler = OnlineHandler(self.settings, client, lambda: self.now)
        self._recompute = Recompute(self.settings, client, lambda: self.now)
        self._layout = all_columns(project)
        self._url = url

    def replica(self, project: str) -> World:
        """An empty online store over the same log."""
        return World(self.settings.home, self.client, self._url, project)

    def archive(self, events: Sequence[Event], *, writer: str = "archive") -> None:
        """What the group `archive` does with a batch; others tell nobody of corrections."""
        log = LogWriter(self.settings, writer=writer)
        appended = log.append(events)
        log.close()
        if appended.corrected and writer == "archive":
            self.client.sadd(corrected_key(self.settings.project), *appended.corrected)

    def recompute(self) -> Recomputed:
        """One run of the role, a while after the last one."""
        self.now += timedelta(minutes=1)
        return self._recompute.run_once()

    def build_and_load(self, *, full: bool = False) -> None:
        build(self.settings, through=NOW)
        load(self.settings, self.client, as_of=NOW, full=full)

    def owed(self) -> set[str]:
        key = owed_key(self.settings.project)
        return {member.decode() for member in self.client.zrange(key, 0, -1)}

    def read(self, customers: Sequence[str]) -> OnlineRows:
        return online.OnlineReader(self.client, self._layout).read(customers)

    def value(self, name: str, customer: str = "ann") -> float:
        return float(self.read([customer]).columns[name][0])

    def fields(self, customers: Iterable[str]) -> dict[str, Fields]:
        """The bytes of each customer, but for times and the daily windows."""
        kept = {*online_fields.FIELDS, STREAM_FIELD}
        return {
            customer: {
                field: _timeless(data) if field == STREAM_FIELD else data
                for field, data in self.client.hgetall(key).items()
                if field in kept
            }
            for customer, key in zip(customers, self._layout.keys(customers), strict=True)
        }

    def assert_equals_tables(self, customers: Sequence[str]) -> None:
        """The stream's views say online what the tables, built anew, say of now."""
        build(self.settings, through=self.now)
        fresh = self.replica("offline")
        load(fresh.settings, self.client, as_of=self.now, full=True)
        ours, theirs = self.read(customers), fresh.read(customers)
        for view in contract.STREAMED_VIEWS:
            known = [~np.isnan(rows.known_at[view]) for rows in (ours, theirs)]
            np.testing.assert_array_equal(known[0], known[1], err_msg=view)
            for name in contract.VIEWS[view]:
                left, right = ours.columns[name], theirs.columns[name]
                if name in contract.TEXT_FEATURES:
                    assert [*left] == [*right], name
                else:
                    np.testing.assert_allclose(left, right, rtol=1e-9, err_msg=name)


def _timeless(data: bytes) -> bytes:
    state = decode(data)
    assert state is not None
    state.known, state.pruned = 0, None
    return encode(state)[8:]
