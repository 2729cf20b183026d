"""Rows of the `customer_placement` view: how much of a customer's mail was seen, at midnights.

For a message m of a cell that is impaired (see deliverability/estimates.py) and that left no trace
(no person saw it, nor did Apple fetch it), the chance that it was not in the inbox is

    u(m) = 1 - theta (1 - q) / (theta (1 - q) + (1 - theta))

theta is the cell's share in the inbox, q how likely mail of this person that is in the inbox leaves
a trace: as much of their mail did up to then in cells that were not impaired, with HABIT_WEIGHT
messages at the cell's own rate added. For all other messages u is 0. It changes when
an estimate is published and when a reader becomes known; every midnight holds what was known at
it, and stays. Chances are whole numbers of 1/ONE, so that sums are exact in any order.

    p_inbox_28d      1 - mean u of the messages sent in the last 28 days
    ghost            mean u of the last LAST messages, in the order they became known
    unseen_days      sum of u of the newest message over the midnights after the customer was last
                     seen; a message counts as the newest for WINDOW_DAYS days at most
    seen_through_at  when the customer was last seen
    unseen_sends_... sum of u with decay by the time of sending

A customer has rows from the first midnight on at which any u was not 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from feature_repo import contract, naming
from feature_repo.deliverability.messages import HABIT_WEIGHT
from feature_repo.event import MICROS
from feature_repo.history.daily_table import DAY_US
from feature_repo.history.feature_table import feature_schema
from feature_repo.history.placement_mail import Floats, Ints, Mail
from feature_repo.history.placement_seen import LastSeen

ONE: Final = 2**20
WINDOW_DAYS: Final = 28
LAST: Final = 5

_SCHEMA: Final = feature_schema(contract.CUSTOMER_PLACEMENT)
_HALF_LIVES: Final = np.array(naming.HALF_LIVES_DAYS, dtype=np.float64)
_FAR: Final = 2**30
_BATCH_ROWS: Final = 65_536


def placement_rows(mail: Mail, first_day: int, last_day: int) -> Iterator[pa.RecordBatch]:
    """One row per customer and midnight, up to `last_day`, at which something became another.

    `first_day` is the first day of any impairment at all: decayed sums are kept relative to it.
    """
    if not mail.hit.size:
        return
    fold = _Fold(mail, first_day)
    waiting: list[pa.RecordBatch] = []
    for day in range(fold.first_midnight, last_day + 1):
        waiting += fold.rows(day, fold.step(day))
        # A batch becomes a row group of a file: few large ones.
        if sum(batch.num_rows for batch in waiting) >= _BATCH_ROWS:
            yield pa.concat_batches(waiting)
            waiting = []
    if waiting:
        yield pa.concat_batches(waiting)


class _Steps:
    """Changes ordered by midnight, taken midnight by midnight."""

    def __init__(self, at: Ints, *columns: Ints) -> None:
        order = np.argsort(at, kind="stable")
        self._at = at[order]
        self._columns = [column[order] for column in columns]
        self._taken = 0

    def until(self, day: int) -> list[Ints]:
        """The changes up to and including a midnight that were not taken yet."""
        after = int(np.searchsorted(self._at, day, side="right"))
        taken = slice(self._taken, after)
        self._taken = after
        return [column[taken] for column in self._columns]


class _Fold:
    """The state of some customers as of one midnight after the other."""

    def __init__(self, mail: Mail, first_day: int) -> None:
        self._mail, self._centre = mail, float(first_day)
        count = len(mail.customers)
        self.first_midnight = int(mail.hit_from.min())
        # Lines: of the window, of the last ones, and of the newest one.
        self._mails, self._unseen = (np.zeros((3, count), dtype=np.int64) for _ in range(2))
        self._earlier, self._earlier_seen = (np.zeros(count, dtype=np.int64) for _ in range(2))
        self._decayed = np.zeros((len(_HALF_LIVES), count))
        self._any_unseen = np.zeros(count, dtype=np.int64)
        self._clock = np.zeros(count, dtype=np.int64)
        self._seen = LastSeen(mail, count)
        self._is_shown = np.zeros(count, dtype=bool)
        self._shown = np.full((len(naming.CUSTOMER_PLACEMENT), count), np.nan)
        self._arrange()

    def _arrange(self) -> None:
        """All changes to come, as steps."""
        mail = self._mail
        # Until when a message is in the window, among the last ones, and the newest.
        leaves = np.minimum(mail.day + WINDOW_DAYS + 1, mail.end)
        self._leaves = np.stack(
            [leaves, np.minimum(_overtaken(mail, LAST), mail.end),
             np.minimum(_overtaken(mail, 1), leaves)]
        )  # fmt: skip
        self._counts = []
        for until in self._leaves[:2]:
            there = until > mail.known
            who, one = mail.customer[there], np.ones(int(there.sum()), dtype=np.int64)
            at = np.concatenate([mail.known[there], until[there]])
            self._counts.append(_Steps(at, np.concatenate([who, who]), np.concatenate([one, -one])))
        # Which messages tell a habit: known, and not impaired as far as is known.
        read_from, read_until, reader = mail.read_from, mail.read_until, mail.customer[mail.read]
        hit_reads = _overlaps(mail)
        self._hits_read = hit_reads
        hitter = mail.customer[mail.hit]
        self._habit = _Steps(
            *_spans(
                (mail.known, mail.end, mail.customer, 1, 0),
                (mail.hit_from, mail.hit_until, hitter, -1, 0),
                (read_from, read_until, reader, 0, 1),
                (hit_reads[1], hit_reads[2], hitter[hit_reads[0]], 0, -1),
            )
        )
        self._entering = _Steps(mail.hit_from, np.arange(len(mail.hit)))
        self._chance = np.zeros(len(mail.hit), dtype=np.int64)
        self._asked = np.full(len(mail.customer), -1.0)
        self._asked_of = np.zeros(len(mail.customer))
        everything = np.concatenate([np.arange(len(mail.hit)), hit_reads[0]])
        starts = np.concatenate([mail.hit_from, hit_reads[1]])
        stops = np.concatenate([mail.hit_until, hit_reads[2]])
        sign = np.concatenate([np.ones(len(mail.hit)), -np.ones(len(hit_reads[0]))])
        limits = np.concatenate([self._leaves, mail.end[np.newaxis]])[:, mail.hit[everything]]
        self._pieces = [
            _pieces(starts, np.minimum(stops, limit), everything, sign.astype(np.int64))
            for limit in limits
        ]

    def step(self, day: int) -> Ints:
        """Come to a midnight; returns the customers whose row may be another one."""
        who, mails, seen = self._habit.until(day - 1)
        np.add.at(self._earlier, who, mails)
        np.add.at(self._earlier_seen, who, seen)
        self._weigh(self._entering.until(day)[0])
        touched = [self._seen.step(day)]
        for line, steps in enumerate(self._counts):
            who, change = steps.until(day)
            np.add.at(self._mails[line], who, change)
            touched.append(who)
        hitter = self._mail.customer[self._mail.hit]
        for line, pieces in enumerate(self._pieces[:3]):
            hit, sign = pieces.until(day)
            np.add.at(self._unseen[line], hitter[hit], sign * self._chance[hit])
            touched.append(hitter[hit])
        hit, sign = self._pieces[3].until(day)
        self._decay(hit, sign, hitter[hit])
        waiting = np.flatnonzero(self._unseen[2])
        self._clock[waiting] += self._unseen[2][waiting]
        self._seen.keep(day, self._clock, is_moved=bool(waiting.size))
        return np.unique(np.concatenate([*touched, hitter[hit], waiting]))

    def _weigh(self, hits: Ints) -> None:
        """The chance that nobody saw it, of the messages whose estimate is new."""
        mail = self._mail
        message = mail.hit[hits]
        who = mail.customer[message]
        # How a person reads is asked once, when the first impairment of the message is known.
        fresh = self._asked[message] < 0
        self._asked[message[fresh]] = self._earlier_seen[who[fresh]]
        self._asked_of[message[fresh]] = self._earlier[who[fresh]]
        rate, theta = mail.hit_seen_rate[hits], mail.hit_p[hits]
        q = (self._asked[message] + HABIT_WEIGHT * rate) / (self._asked_of[message] + HABIT_WEIGHT)
        silent = theta * (1 - np.clip(q, 0.0, 1.0))
        self._chance[hits] = np.rint(ONE * (1 - silent / (silent + 1 - theta))).astype(np.int64)

    def _decay(self, hit: Ints, sign: Ints, who: Ints) -> None:
        message = self._mail.hit[hit]
        change = sign * self._chance[hit]
        np.add.at(self._any_unseen, who, change)
        self._is_shown[who[self._any_unseen[who] > 0]] = True
        days = self._mail.time_us[message] / DAY_US - self._centre
        for line, half_life in enumerate(_HALF_LIVES):
            np.add.at(self._decayed[line], who, change * np.exp2(days / half_life))
        # What rounding leaves when nothing is unseen any more is nothing.
        self._decayed[:, who[self._any_unseen[who] == 0]] = 0.0

    def rows(self, day: int, touched: Ints) -> Iterator[pa.RecordBatch]:
        """The rows of a midnight that differ from the customer's row before."""
        who = touched[self._is_shown[touched]]
        values = self._values(who)
        before = self._shown[:, who]
        changed = ((values != before) & ~(np.isnan(values) & np.isnan(before))).any(axis=0)
        self._shown[:, who] = values
        wanted = changed & (day * DAY_US >= self._mail.since[who])
        if not wanted.any():
            return
        customers = self._mail.customers.take(pa.array(who[wanted]))
        time = pa.array(np.full(int(wanted.sum()), day * DAY_US)).cast(_SCHEMA.field(1).type)
        columns = [pa.array(line, from_pandas=True) for line in values[:, wanted]]
        yield pa.record_batch([customers, time, time, *columns], schema=_SCHEMA)

    def _values(self, who: Ints) -> Floats:
        with np.errstate(all="ignore"):
            share = self._unseen[:2, who] / (self._mails[:2, who] * ONE)
            days = (self._clock[who] - self._seen.clock[who]) / ONE
            decayed = np.log2(self._decayed[:, who] / ONE)
        decayed = np.where(np.isfinite(decayed), decayed, np.nan)
        decayed += self._centre / _HALF_LIVES[:, np.newaxis]
        through = self._seen.time_us[who]
        through_s = np.where(through < 0, np.nan, through / MICROS)
        return np.stack([1.0 - share[0], share[1], days, through_s, *decayed])


def _overtaken(mail: Mail, places: int) -> Ints:
    """The midnight at which the message so many places later is known; messages are in order."""
    at = np.full(len(mail.customer), _FAR, dtype=np.int64)
    same = mail.customer[places:] == mail.customer[:-places]
    at[: len(same)][same] = mail.known[places:][same]
    return at


def _overlaps(mail: Mail) -> tuple[Ints, Ints, Ints]:
    """Where a message was impaired and read at once: number of the hit, from, until."""
    first = np.searchsorted(mail.read, mail.hit, side="left")
    count = np.searchsorted(mail.read, mail.hit, side="right") - first
    hit = np.repeat(np.arange(len(mail.hit)), count)
    read = np.arange(len(hit)) - np.repeat(count.cumsum() - count, count) + np.repeat(first, count)
    start = np.maximum(mail.hit_from[hit], mail.read_from[read])
    stop = np.minimum(mail.hit_until[hit], mail.read_until[read])
    there = start < stop
    return hit[there], start[there], stop[there]


def _pieces(start: Ints, stop: Ints, hit: Ints, sign: Ints) -> _Steps:
    there = start < stop
    start, stop, hit, sign = start[there], stop[there], hit[there], sign[there]
    at = np.concatenate([start, stop])
    return _Steps(at, np.concatenate([hit, hit]), np.concatenate([sign, -sign]))


def _spans(*spans: tuple[Ints, Ints, Ints, int, int]) -> list[Ints]:
    """Spans (from, until, customer, mails, seen) as changes: midnight, customer, mails, seen."""
    columns: list[list[Ints]] = [[], [], [], []]
    for start, stop, who, mails, seen in spans:
        for at, sign in ((start, 1), (stop, -1)):
            size = np.ones(len(who), dtype=np.int64)
            for column, part in zip(
                columns, (at, who, size * sign * mails, size * sign * seen), strict=True
            ):
                column.append(part)
    return [np.concatenate(column) for column in columns]
