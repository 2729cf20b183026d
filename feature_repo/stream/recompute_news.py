"""Who is owed because of what became of the log: corrections, and rows that others wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, cast

import redis

from feature_repo.activity import micros_since_epoch
from feature_repo.history import duck
from feature_repo.history.log import EventLog
from feature_repo.online_codec import all_columns
from feature_repo.settings import Settings
from feature_repo.stream import online_epoch
from feature_repo.stream.online_recent import content_keys
from feature_repo.stream.online_state import decode
from feature_repo.stream.recompute_commits import foreign_ranges
from feature_repo.stream.recompute_daily import owe_daily
from feature_repo.stream.recompute_log import LogReader
from feature_repo.stream.recompute_sets import taken

_IN_FLIGHT: Final = timedelta(days=1)
"""How long after this Redis began the archive may bring rows that a lost one had taken in."""


def seen_key(project: str) -> str:
    """Key of the log position up to which rows of others were looked at."""
    return f"foresend:{project}:log_seen"


class LogNews:
    """Reads what is new in the log and marks customers as owed."""

    def __init__(
        self, settings: Settings, client: redis.Redis, clock: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._layout = all_columns(settings.project)

    def take(self) -> int:
        """Mark who is owed by what is new; how many events were corrected or withdrawn."""
        project = self._settings.project
        with taken(self._client, online_epoch.corrected_key(project)) as corrected:
            last = EventLog(self._settings.log_path).snapshot().last_position
            epoch = self._epoch()
            raw = cast("bytes | None", self._client.get(seen_key(project)))
            seen = epoch.position if raw is None else int(raw)
            if not corrected and last <= seen:
                return 0
            with self._log() as log:
                if corrected:
                    self._owe_corrected(log, corrected)
                if last > seen:
                    self._owe_written(log, epoch, seen, last)
                    self._client.set(seen_key(project), last)
        return len(corrected)

    @contextmanager
    def _log(self) -> Iterator[LogReader]:
        with duck.connect(self._settings) as con:
            yield LogReader(con, EventLog(self._settings.log_path).snapshot())

    def _epoch(self) -> online_epoch.Epoch:
        key = online_epoch.epoch_key(self._settings.project)
        raw = cast("bytes | None", self._client.get(key))
        if raw is None:  # emptied this very moment
            online_epoch.begin_streaming(self._settings, self._client, self._clock())
            return self._epoch()
        return online_epoch.read(raw)

    def _owe_corrected(self, log: LogReader, event_ids: list[str]) -> None:
        """Whoever any row of these events ever named."""
        customers = log.customers_of(event_ids)
        online_epoch.owe(self._client, self._settings.project, customers, self._clock())
        owe_daily(self._client, self._settings.project, customers)

    def _owe_written(self, log: LogReader, epoch: online_epoch.Epoch, seen: int, last: int) -> None:
        """Whoever has a state that lacks rows which did not come, or may not, by the stream."""
        foreign = foreign_ranges(self._settings.log_path, after=seen)
        rows = log.written(foreign) if foreign else {}
        moved = log.moved_from(foreign) if foreign else []
        if foreign:
            # First, so that whoever begins meanwhile is checked too.
            online_epoch.end_cleanness(self._settings, self._client, self._clock())
        if self._clock() < epoch.since + _IN_FLIGHT:
            until = micros_since_epoch(epoch.since)
            for customer, keys in log.written([(seen + 1, last)], received_until_us=until).items():
                rows.setdefault(customer, []).extend(keys)
        lacking = []
        for customer, data in online_epoch.states(self._client, self._layout, [*rows, *moved]):
            state = decode(data)
            held = set() if state is None else content_keys(state.recent, state.waiting)
            if state is None or customer not in rows or not held.issuperset(rows[customer]):
                lacking.append(customer)
        online_epoch.owe(self._client, self._settings.project, lacking, self._clock())
