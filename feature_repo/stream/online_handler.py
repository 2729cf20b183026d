"""Consumer group `online`: folds events into the online store, each once, in any order.

Of a batch, each customer is read once, folded and written once. Whoever lost a race is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import redis

from feature_repo import contract, online
from feature_repo.activity import micros_since_epoch
from feature_repo.errors import StoreUnavailable
from feature_repo.event import Event
from feature_repo.online_codec import OnlineRows, all_columns
from feature_repo.settings import Settings
from feature_repo.stream import online_epoch
from feature_repo.stream.online_epoch import Epoch, Mode
from feature_repo.stream.online_fold import Folding, Row, row_of
from feature_repo.stream.online_parts import parts
from feature_repo.stream.online_state import StreamState, decode, empty, from_loaded
from feature_repo.stream.online_write import Held, StateStore, Write

Rows = Mapping[str, Sequence[Row]]

_CUSTOMERS: Final = 500
"""Customers of one round trip: the next is folded while this one's memory is still warm."""

_ROUNDS: Final = 50
"""Races lost in a row before the store is called unavailable."""


class OnlineHandler:
    """Folds events into Redis. One per thread; any number of them at once."""

    def __init__(
        self, settings: Settings, client: redis.Redis, clock: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._layout = all_columns(settings.project)
        self._store = StateStore(client, self._layout)
        self._loaded = online.OnlineReader(client, self._layout)

    def handle(self, events: Sequence[Event]) -> None:
        """Return when Redis has the effects of all events.

        Raises:
            StoreUnavailable: Redis does not answer, or others change the same customers all the
                time. Some effects may be there; handling the events again is right.
        """
        by_customer: dict[str, list[Row]] = {}
        for event in events:
            by_customer.setdefault(event.customer_id, []).append(row_of(event))
        with online.answers():
            for part in parts(by_customer.items(), _CUSTOMERS):
                self._settle(dict(part))

    def _settle(self, left: Rows) -> None:
        for _ in range(_ROUNDS):
            lost = self._round(left)
            if not lost:
                return
            left = {customer: left[customer] for customer in lost}
        message = (
            f"{len(left)} customers were changed by others {_ROUNDS} times in a row. "
            "Run fewer workers of the group `online`."
        )
        raise StoreUnavailable(message)

    def _round(self, rows: Rows) -> Sequence[str]:
        """Read, fold and write once; the customers that somebody else changed in between."""
        raw, held = self._store.read([*rows])
        epoch = None if raw is None else online_epoch.read(raw)
        if raw is None or epoch is None or not epoch.streaming:
            online_epoch.begin_streaming(self._settings, self._client, self._clock())
            return [*rows]
        loaded = self._read_loaded(rows, held, epoch)
        now = self._clock()
        now_us = micros_since_epoch(now)
        folded = (
            _folded(customer, new, found, epoch, loaded.get(customer), now_us)
            for (customer, new), found in zip(rows.items(), held, strict=True)
        )
        written = self._store.write(filter(None, folded), raw, now.timestamp())
        return [customer for customer, ok in written.items() if not ok]

    def _read_loaded(
        self, rows: Rows, held: Sequence[Held], epoch: Epoch
    ) -> Mapping[str, StreamState]:
        """The states that the loaded rows of customers without one stand for."""
        if not epoch.shows_unchecked:
            return {}
        ids = [
            customer
            for customer, found in zip(rows, held, strict=True)
            if found.state is None and found.is_loaded
        ]
        if not ids:
            return {}
        found = self._loaded.read(ids)
        return {customer: _from_row(found, place) for place, customer in enumerate(ids)}


def _folded(
    customer: str,
    rows: Sequence[Row],
    held: Held,
    epoch: Epoch,
    loaded: StreamState | None,
    now_us: int,
) -> Write | None:
    """What is to be written after these rows, None for nothing."""
    state = None if held.state is None else decode(held.state)
    begins = state is None
    # A state that cannot be read was written by another version: from the log, then.
    shown = not begins or (held.state is None and epoch.shows_unchecked)
    folding = Folding(state or loaded or empty())
    owed = False
    for row in rows:
        if shown:
            owed |= not folding.take(row)
        else:
            folding.wait_for(row)
    if not folding.touched:
        return None
    if folding.pruned:
        folding.state.pruned = now_us
    if begins:
        owed |= not shown or held.is_loaded or epoch.mode is not Mode.CLEAN
    return Write(customer, held, folding.finish(), sorted(folding.changed), True if owed else None)


def _from_row(rows: OnlineRows, place: int) -> StreamState:
    return from_loaded(
        rows.columns,
        place,
        float(rows.known_at[contract.ACTIVITY][place]),
        float(rows.known_at[contract.CUSTOMER_PROFILE][place]),
    )
