"""When customers were last seen, as known at one midnight after the other."""

from __future__ import annotations

import numpy as np

from feature_repo.deliverability.mail import NEVER
from feature_repo.history.daily_table import DAY_US
from feature_repo.history.placement_mail import Ints, Mail


class LastSeen:
    """The newest act of each customer, and how far the clock of unseen days had come at it."""

    def __init__(self, mail: Mail, count: int) -> None:
        #: Of the newest act; -1: none.
        self.time_us = np.full(count, -1, dtype=np.int64)
        #: The customer's clock at the midnight that ends the day of the act.
        self.clock = np.zeros(count, dtype=np.int64)
        self._mail = mail
        order = np.argsort(mail.act_from, kind="stable")
        self._from = mail.act_from[order]
        self._who, self._us = mail.act[order], mail.act_us[order]
        self._taken = 0
        # Few acts are withdrawn or found to be a machine's; of their customers, all are kept.
        ended = mail.act_until < NEVER
        self._broken = np.flatnonzero(np.isin(mail.act, np.unique(mail.act[ended])))
        self._ends = np.unique(mail.act_until[ended])
        self._kept_days: list[int] = []
        self._kept: list[Ints] = []

    def step(self, day: int) -> Ints:
        """Come to a midnight; returns the customers whose newest act is another one."""
        after = int(np.searchsorted(self._from, day, side="right"))
        who, us = self._who[self._taken : after], self._us[self._taken : after]
        self._taken = after
        before = self.time_us.copy()
        np.maximum.at(self.time_us, who, us)
        self._recount(day)
        moved = np.flatnonzero(self.time_us != before)
        self._look_up(moved)
        return moved

    def keep(self, day: int, clock: Ints, *, is_moved: bool) -> None:
        """Remember the clocks of a midnight, for acts that become known later."""
        if is_moved:
            self._kept_days.append(day)
            self._kept.append(clock.copy())
            # An act of the day that ends at this midnight stops the clock at it.
            today = np.flatnonzero(_midnight(self.time_us) >= day)
            self.clock[today] = clock[today]

    def _recount(self, day: int) -> None:
        """The newest act anew, for customers of whom an act ended."""
        mail, broken = self._mail, self._broken
        if not broken.size or not (self._ends <= day).any():
            return
        alive = broken[(mail.act_from[broken] <= day) & (mail.act_until[broken] > day)]
        self.time_us[mail.act[broken]] = -1
        np.maximum.at(self.time_us, mail.act[alive], mail.act_us[alive])

    def _look_up(self, who: Ints) -> None:
        """The clock at the newest act, from the midnights that were kept."""
        at = np.searchsorted(self._kept_days, _midnight(self.time_us[who]), side="right")
        for place in np.unique(at):
            chosen = who[at == place]
            self.clock[chosen] = 0 if place == 0 else self._kept[place - 1][chosen]


def _midnight(time_us: Ints) -> Ints:
    """The first midnight not before a time."""
    return np.asarray(-(-time_us // DAY_US), dtype=np.int64)
