"""A bulk load beside the stream: which rows it may write, and what it tells the stream.

While a load is under way nobody begins from a loaded row. Who has a state of the stream is asked
for as soon as the stream is in use; if that was only noticed half-way, whoever was written over
without asking is owed an exact state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final, cast

import duckdb
import pyarrow as pa
import redis

from feature_repo import contract
from feature_repo.online_codec import Layout
from feature_repo.settings import Settings
from feature_repo.stream import online_epoch, score_streams
from feature_repo.sweep import glob_prefix, written

_FEW_KEYS: Final = 10_000
_NOTED_AT_ONCE: Final = 50_000


class Streamed:
    """The customers that the stream keeps, as one load sees them."""

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        layout: Layout,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._client = client
        self._layout = layout
        self._clock = clock
        self._asked_always = True

    def begin(self) -> None:
        """Nothing is written yet."""
        online_epoch.begin_loading(self._settings, self._client, self._clock())

    def without(self, news: Iterable[tuple[str, pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
        """The rows that may be written."""
        for view, table in news:
            if view not in contract.STREAMED_VIEWS:
                yield view, table
            elif not online_epoch.streaming(self._client, self._settings.project):
                self._asked_always = False
                yield view, table
            else:
                ids = table.column(contract.ENTITY).to_pylist()
                kept = online_epoch.with_state(self._client, self._layout, ids)
                yield view, table.filter(pa.array([c not in kept for c in ids])) if kept else table

    def end(self, con: duckdb.DuckDBPyConnection) -> None:
        """All is written; the customers of each view are in its `written` table."""
        project = self._settings.project
        if not self._asked_always and online_epoch.streaming(self._client, project):
            for view in contract.STREAMED_VIEWS:
                rows = con.execute(f"SELECT customer_id FROM {written(view)}").fetchall()
                ids = [customer for (customer,) in rows]
                begun = online_epoch.with_state(self._client, self._layout, ids)
                online_epoch.owe(self._client, project, begun, self._clock())
        online_epoch.end_loading(self._settings, self._client, self._clock())

    def note(self, con: duckdb.DuckDBPyConnection) -> None:
        """All is written and nobody was told: have everybody who was written scored anew."""
        if not score_streams.is_noting(self._client, self._settings.project):
            return
        tables = " UNION ".join(f"SELECT customer_id FROM {written(v)}" for v in contract.VIEWS)
        found = con.execute(tables)
        while rows := found.fetchmany(_NOTED_AT_ONCE):
            ids = [customer for (customer,) in rows]
            score_streams.note_loaded(self._client, self._settings.project, ids, self._clock())


def is_empty(client: redis.Redis, layout: Layout) -> bool:
    """Whether no customer is there yet; other keys, such as a queue, do not count.

    False also where finding out would take long.
    """
    if cast("int", client.dbsize()) > _FEW_KEYS:
        return False
    keys = client.scan_iter(glob_prefix(layout.key_prefix) + b"*", count=1_000)
    return all(layout.customer_of(key) is None for key in keys)
