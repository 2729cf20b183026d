"""What is known of a customer when it is decided what to do about the next message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import redis

from feature_repo import contract, naming, online, transforms
from feature_repo.online_codec import Layout, OnlineRows

Floats = npt.NDArray[np.float64]

NAN: Final = float("nan")

_DAILY: Final = tuple(naming.windowed("sends", days) for days in naming.WINDOWS_DAYS)
_VIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    contract.ACTIVITY: transforms.ACTIVITY_INPUTS,
    contract.CUSTOMER_DAILY: _DAILY,
    contract.CUSTOMER_PROFILE: ("utc_offset_minutes", "is_subscribed"),
    contract.CUSTOMER_PLACEMENT: naming.CUSTOMER_PLACEMENT,
}
_LONG: Final = naming.HALF_LIVES_DAYS[-1]
_SHORT: Final = naming.HALF_LIVES_DAYS[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One customer; NaN where nothing is known."""

    #: 1.0, 0.0 or NaN.
    subscribed: float = NAN
    #: Chance that the last mails did not reach the inbox.
    ghost: float = NAN
    #: Days since the last open or click, or since the first event when there is none; without the
    #: days in which mail was not seen.
    silent_days: float = NAN
    #: Mails of the last months that were probably seen (a count that halves in 112 days).
    seen_sends: float = 0.0
    #: Mails of the last days (a count that halves in 7 days).
    recent_sends: float = 0.0
    #: Pace of opens in the last days over that of the last months; 1.0 is as usual.
    opens_trend: float = NAN
    #: Mails by width of the window in whole days, up to the midnight `counted_at`.
    sends: Mapping[int, float] = field(default_factory=dict)
    #: Epoch seconds.
    counted_at: float = NAN
    last_send_at: float = NAN
    #: Shares of the customer's engagement by four-hour block of the local day; empty: none.
    blocks: tuple[float, ...] = ()
    utc_offset_minutes: float = NAN


class FactsReader:
    """Reads facts from the online store. One per thread."""

    def __init__(self, client: redis.Redis, project: str) -> None:
        self._reader = online.OnlineReader(client, Layout(project, _VIEWS))

    def read(self, customers: Sequence[str], now: datetime) -> list[Facts | None]:
        """What is known of each customer at `now`; None where nothing is.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        if not customers:
            return []
        with online.answers():
            rows = self._reader.read(customers)
        return _facts(rows, now.timestamp())


def _facts(rows: OnlineRows, now: float) -> list[Facts | None]:
    columns = rows.columns
    at = np.full(len(rows.found), now)
    read = transforms.send_time(columns, at)
    table = {
        "subscribed": columns["is_subscribed"],
        "ghost": columns["ghost"],
        "silent_days": _silent_days(columns, read),
        "seen_sends": _seen_sends(columns, read, now),
        "recent_sends": read[naming.decayed("sends", _SHORT)],
        "opens_trend": read[naming.trend("opens")],
        "counted_at": rows.known_at[contract.CUSTOMER_DAILY],
        "last_send_at": columns[naming.last_at("send")],
        "utc_offset_minutes": columns["utc_offset_minutes"],
    }
    lists = {name: np.asarray(values, np.float64).tolist() for name, values in table.items()}
    sends = np.stack([np.asarray(columns[name], np.float64) for name in _DAILY]).T.tolist()
    shares = _block_shares(columns).T.tolist()
    return [
        Facts(
            **{name: values[i] for name, values in lists.items()},
            sends=dict(zip(naming.WINDOWS_DAYS, sends[i], strict=True)),
            blocks=tuple(shares[i]) if shares[i][0] == shares[i][0] else (),
        )
        if found
        else None
        for i, found in enumerate(rows.found.tolist())
    ]


def _silent_days(columns: Mapping[str, npt.ArrayLike], read: Mapping[str, Floats]) -> Floats:
    """On the exposure clock, as `transforms` reads it: mail that was not seen is no silence."""
    hours = np.fmin(read[naming.hours_since("open")], read[naming.hours_since("click")])
    # The days since the first event are of the plain clock.
    unseen = np.fmax(np.asarray(columns[naming.UNSEEN_DAYS], np.float64), 0.0)
    never = np.maximum(read["tenure_days"] - np.where(np.isnan(unseen), 0.0, unseen), 0.0)
    return np.where(np.isnan(hours), never, hours / 24.0)


def _seen_sends(
    columns: Mapping[str, npt.ArrayLike], read: Mapping[str, Floats], now: float
) -> Floats:
    state = np.asarray(columns[naming.log2_state(naming.UNSEEN_SENDS, _LONG)], np.float64)
    unseen = np.exp2(state - now / (_LONG * 86_400.0))
    sent = read[naming.decayed("sends", _LONG)]
    return np.maximum(sent - np.where(np.isnan(unseen), 0.0, unseen), 0.0)


def _block_shares(columns: Mapping[str, npt.ArrayLike]) -> Floats:
    """Shares by block and customer; NaN for customers without any."""
    names = [naming.block_state(block) for block in range(naming.BLOCKS)]
    states = np.stack([np.asarray(columns[name], np.float64) for name in names])
    with np.errstate(all="ignore"):
        weights = np.exp2(states - np.fmax.reduce(states, axis=0))
        total = np.nansum(weights, axis=0)
        shares: Floats = np.where(np.isnan(weights), 0.0, weights) / np.where(total > 0, total, NAN)
    return shares
