"""The `customer_placement` table by brute force: at each midnight, look at all that was known.

Shares with the product only names, the rounding of chances, and what is impaired.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from feature_repo import naming
from tests.integration.history.histories import Row
from tests.integration.history.reference import Change

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000
_SEEN = ("opened", "clicked", "replied", "complained", "unsubscribed")
_HUMAN = ("none", "gmail_proxy", "yahoo_proxy")
_NEVER = 2**30


@dataclass(frozen=True)
class Version:
    """What a row said, and from which midnight to which."""

    row: Row
    known: int
    end: int

    @property
    def time_us(self) -> int:
        return _us(self.row["event_time"])

    @property
    def day(self) -> int:
        return self.time_us // _DAY_US

    @property
    def is_seen(self) -> bool:
        kind = self.row["type"]
        return kind in _SEEN and (
            kind not in ("opened", "clicked") or self.row["machine"] in _HUMAN
        )

    @property
    def is_trace(self) -> bool:
        fetched = self.row["type"] == "opened" and self.row["machine"] == "apple_mpp"
        return self.is_seen or fetched

    def alive(self, day: int) -> bool:
        return self.known <= day < self.end


def placement(
    history: Sequence[Row], impaired: Sequence[dict[str, Any]], through: datetime
) -> list[Change]:
    """Rows of the `customer_placement` view."""
    rows: list[Change] = []
    last = (through - _EPOCH) // timedelta(days=1)
    if not impaired:
        return []
    first = min(hit["day"] for hit in impaired)
    for customer in sorted({row["customer_id"] for row in history}):
        versions = [v for v in _versions(history) if v.row["customer_id"] == customer]
        person = _Person(versions, impaired)
        before: dict[str, Any] | None = None
        for day in range(first, last + 1):
            state = person.state(day, first)
            if state is not None and state != before:
                rows.append((customer, _EPOCH + timedelta(days=day), state))
                before = state
    return rows


class _Person:
    def __init__(self, versions: list[Version], impaired: Sequence[dict[str, Any]]) -> None:
        sent = [
            Version(v.row, max(v.day + 1, v.known), v.end)
            for v in versions
            if v.row["type"] == "sent"
        ]
        self.mails = sorted(
            (mail for mail in sent if mail.known < mail.end),
            key=lambda m: (m.known, m.time_us, _key(m.row["event_id"])),
        )
        self.acts = [v for v in versions if v.is_trace]
        self.impaired = impaired
        self.sent_us: dict[str, int] = {}
        for v in versions:
            if v.row["type"] == "sent":
                first = self.sent_us.get(v.row["message_id"], v.time_us)
                self.sent_us[v.row["message_id"]] = min(first, v.time_us)
        providers = {v.row["mailbox_provider"] for v in versions} - {None}
        self.told = [v.known for v in versions if v.row["mailbox_provider"] is not None]
        self.provider = min(providers, default=None)
        self.clocks: dict[int, int] = {}
        self.is_shown = False

    def state(self, day: int, first: int) -> dict[str, Any] | None:
        one = 2**20
        known = [mail for mail in self.mails if mail.known <= day]
        unseen = {id(mail): self.unseen(mail, day) for mail in known}
        window = [m for m in known if m.alive(day) and day < m.day + 29]
        last = [m for m in known[-5:] if m.alive(day)]
        newest = unseen[id(known[-1])] if known and day < known[-1].day + 29 else 0
        self.clocks[day] = self.clocks.get(day - 1, 0) + newest
        acts = [act.time_us for act in self.acts if act.is_seen and act.alive(day)]
        seen = max(acts, default=None)
        stopped = 0 if seen is None else self.clocks.get(min(day, -(-seen // _DAY_US)), 0)
        self.is_shown |= any(unseen.values())
        if not self.is_shown:
            return None
        return {
            "p_inbox_28d": _mean(window, unseen, lambda u, n: 1.0 - u / (n * one)),
            "ghost": _mean(last, unseen, lambda u, n: u / (n * one)),
            "unseen_days": (self.clocks[day] - stopped) / one,
            "seen_through_at": None if seen is None else seen / 1e6,
            **{
                naming.log2_state("unseen_sends", h): _decayed(known, unseen, h, first)
                for h in naming.HALF_LIVES_DAYS
            },
        }

    def unseen(self, mail: Version, day: int) -> int:
        hit = self.hit(mail, day)
        if hit is None or self.has_trace(mail, day):
            return 0
        asked = next(d for d in range(mail.known, day + 1) if self.hit(mail, d))
        habit = [m for m in self.mails if m.alive(asked - 1) and not self.hit(m, asked - 1)]
        traced = sum(self.has_trace(m, asked - 1) for m in habit)
        q = (traced + 5 * hit["seen_rate"]) / (len(habit) + 5)
        silent = hit["p_inbox"] * (1 - q)
        return round(2**20 * (1 - silent / (silent + 1 - hit["p_inbox"])))

    def hit(self, mail: Version, day: int) -> dict[str, Any] | None:
        if not mail.alive(day):
            return None
        is_told = any(known <= max(mail.day + 1, mail.known) for known in self.told)
        named = mail.row["mailbox_provider"] or (self.provider if is_told else None)
        cell = (mail.row["sending_domain"], named, mail.day)
        for hit in self.impaired:
            same = cell == (hit["sending_domain"], hit["mailbox_provider"], hit["day"])
            if same and hit["published"] <= day < hit["until"]:
                return hit
        return None

    def has_trace(self, mail: Version, day: int) -> bool:
        # In these histories a message is sent once; nobody reacts an hour before.
        return any(
            act.alive(day)
            and act.row["message_id"] == mail.row["message_id"]
            and act.time_us + 3_600_000_000 >= self.sent_us[mail.row["message_id"]]
            for act in self.acts
        )


def _mean(mails: list[Version], unseen: dict[int, int], of: Any) -> float | None:
    return of(sum(unseen[id(m)] for m in mails), len(mails)) if mails else None


def _decayed(
    mails: list[Version], unseen: dict[int, int], half_life: int, first: int
) -> float | None:
    counted = [(unseen[id(m)], m.time_us / _DAY_US - first) for m in mails if unseen[id(m)]]
    if not counted:
        return None
    total = math.fsum(u / 2**20 * 2 ** (days / half_life) for u, days in counted)
    return float(np.log2(total)) + first / half_life


def _versions(history: Sequence[Row]) -> list[Version]:
    found = []
    for event_id in {row["event_id"] for row in history}:
        mine = [(r["received_time"], p) for p, r in enumerate(history) if r["event_id"] == event_id]
        ordered = sorted(mine)
        for (received, place), after in zip(ordered, [*ordered[1:], None], strict=True):
            end = _NEVER if after is None else _midnight(after[0])
            known = _midnight(received)
            if history[place]["op"] == "upsert" and known < end:
                found.append(Version(history[place], known, end))
    return found


def _midnight(at: datetime) -> int:
    return -(-_us(at) // _DAY_US)


def _us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _key(event_id: str) -> str:
    return hashlib.md5(event_id.encode(), usedforsecurity=False).hexdigest()[:12]
