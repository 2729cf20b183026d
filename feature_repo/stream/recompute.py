"""Role `recompute`: whatever cannot be folded is read from the log, online and offline.

Customers are owed an exact state when an event about them was corrected or withdrawn, when it
could not be told whether one is known, and when somebody else than the stream wrote about them.
Their state is computed anew from all rows of the log, in the same exact sums, so that it has the
bytes of a replay. A state of Redis that holds rows the log does not have yet is left until it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple, cast

import redis

from feature_repo import activity, online
from feature_repo.history import duck
from feature_repo.history.log import EventLog
from feature_repo.online_codec import all_columns
from feature_repo.settings import Settings
from feature_repo.stream import online_epoch
from feature_repo.stream.online_fold import Folding
from feature_repo.stream.online_parts import parts
from feature_repo.stream.online_recent import content_keys, record, remembered
from feature_repo.stream.online_state import StreamState, decode, empty
from feature_repo.stream.online_write import Held, StateStore, Write
from feature_repo.stream.port import ARCHIVE, Queue
from feature_repo.stream.recompute_daily import DailyFeatures
from feature_repo.stream.recompute_log import LogReader, LogRow
from feature_repo.stream.recompute_news import LogNews

_CUSTOMERS: Final = 10_000
"""Customers whose rows are read from the log at once."""

_WRITES: Final = 500
_CLOCKS: Final = timedelta(seconds=2)
"""How far the clocks of queue and workers may be apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """What a run did."""

    #: Customers whose state was read from the log.
    customers: int
    #: Customers who are owed one still: the log lacks rows, or the stream was quicker.
    waiting: int
    #: Events that were corrected or withdrawn.
    corrected: int
    #: Customers whose daily windows were built and loaded anew.
    daily: int


class _Exact(NamedTuple):
    """What the log says of a customer."""

    customer: str
    state: StreamState
    #: Content keys of all rows that name the customer.
    rows: set[bytes]


class Recompute:
    """Pays what customers are owed. One at a time is enough; several do no harm.

    `queue` tells how far the archive has come; without it, a customer with more rows in flight
    than a state remembers could be written before all of them are in the log.
    """

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        clock: Callable[[], datetime],
        queue: Queue | None = None,
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._queue = queue
        self._store = StateStore(client, all_columns(settings.project))
        self._news = LogNews(settings, client, clock)
        self._daily = DailyFeatures(settings, client, clock)

    def run_once(self) -> Recomputed:
        """Find out who is owed, pay all that can be paid, and bring daily windows after it.

        Raises:
            StoreUnavailable: Redis, the log or the disk does not answer. What was paid is paid.
        """
        with online.answers():
            online_epoch.begin_streaming(self._settings, self._client, self._clock())
            corrected = self._news.take()
            owed = self._owed()
            paid = self._pay(owed) if owed else 0
        return Recomputed(
            customers=paid,
            waiting=len(owed) - paid,
            corrected=corrected,
            daily=self._daily.bring(),
        )

    def _owed(self) -> list[str]:
        """Who is owed, longest first."""
        key = online_epoch.owed_key(self._settings.project)
        members = cast("list[bytes]", self._client.zrange(key, 0, -1))
        return [member.decode() for member in members]

    def _pay(self, owed: Sequence[str]) -> int:
        """Write the exact states of those of whom the log has all; how many these were."""
        archived_us = self._archived_us()
        paid = 0
        # Opened after it was known who is owed: the rows that they are owed for are in it.
        snapshot = EventLog(self._settings.log_path).snapshot()
        with duck.connect(self._settings) as con:
            log = LogReader(con, snapshot)
            for customers in parts(owed, _CUSTOMERS):
                for part in parts(_states(log, customers), _WRITES):
                    paid += self._write(part, archived_us)
        return paid

    def _archived_us(self) -> int:
        """Everything that was published up to then is in the log."""
        now = self._clock()
        if self._queue is None:
            return activity.micros_since_epoch(now)
        backlog = self._queue.backlog(ARCHIVE)
        age = timedelta(seconds=backlog.oldest_age_s)
        return activity.micros_since_epoch(now - age - _CLOCKS)

    def _write(self, part: Sequence[_Exact], archived_us: int) -> int:
        _, held = self._store.read([exact.customer for exact in part])
        writes = [
            Write(exact.customer, found, exact.state, None, owed=False)
            for exact, found in zip(part, held, strict=True)
            if _has_all(exact, found, archived_us)
        ]
        # Any epoch will do: it guards states that begin by folding, these are right anyway.
        return sum(self._store.write(writes, b"", self._clock().timestamp()).values())


def _states(log: LogReader, customers: Sequence[str]) -> Iterator[_Exact]:
    """What the log says of each of the customers, also of whom it has no row."""
    silent = dict.fromkeys(customers)
    for customer, rows in log.histories(customers):
        del silent[customer]
        yield _exact(customer, rows)
    for customer in silent:
        yield _Exact(customer, empty(), set())


def _exact(customer: str, rows: Iterable[LogRow]) -> _Exact:
    folding = Folding(empty())
    records, known = [], 0
    for row, holds, ever_held in rows:
        records.append(record(row.time_us, row.event_key, row.content_key))
        known = max(known, row.received_us)
        if ever_held:
            folding.hear()
            if row.kind != activity.NOT_COUNTED:
                folding.show_activity()
        if holds:
            folding.count(row)
    state = folding.finish()
    state.recent, state.horizon = remembered(records)
    state.known = known
    return _Exact(customer, state, content_keys(b"".join(records), b""))


def _has_all(exact: _Exact, held: Held, archived_us: int) -> bool:
    """Whether the log has every row that Redis took in."""
    state = None if held.state is None else decode(held.state)
    if state is None:
        return True
    if state.pruned is not None and state.pruned > archived_us:
        return False
    return content_keys(state.recent, state.waiting) <= exact.rows
