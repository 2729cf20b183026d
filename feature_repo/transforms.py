"""Request-time arithmetic: what is known of customers, read at the moment of a send.

Training and serving call this one function; the Feast on-demand view is a two-line call of it.
Missing is NaN everywhere, in and out. An event that lies after `send_at` (a foreign clock, or a
question about the past) counts as having happened at `send_at`: no recency is negative and no
decayed value grows.

Opens and clicks are read on the exposure clock, which stands still while mail is not seen: at
`send_at` less the customer's unseen days (the debt). Sends that were not seen do not count in
rates. Where all mail is seen, the debt is zero and nothing changes, to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_repo import naming

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, npt.ArrayLike]

_RATES: Final = (("opens", "sends"), ("clicks", "sends"), ("clicks", "opens"))
_SHORT, _LONG = naming.HALF_LIVES_DAYS[0], naming.HALF_LIVES_DAYS[-1]
_DAY_S: Final = 86_400.0
_BLOCK_S: Final = _DAY_S / naming.BLOCKS
_EPOCH_WEEKDAY: Final = 3.0  # 1970-01-01 was a Thursday; Monday is 0

SEND_TIME: Final = (
    *(naming.decayed(m.plural, h) for m in naming.MEASURES for h in naming.HALF_LIVES_DAYS),
    *(naming.rate(of, per, h) for of, per in _RATES for h in naming.HALF_LIVES_DAYS),
    *(naming.trend(m.plural) for m in naming.MEASURES),
    *(naming.hours_since(m.singular) for m in naming.LAST_AT),
    "tenure_days",
    "average_order_value",
    "refund_rate",
    "order_gap_days",
    "overdue_ratio",
    "local_hour",
    "local_weekday",
    "block_affinity",
)
"""Names of what `send_time` returns, in order; all Float64."""

ACTIVITY_INPUTS: Final = (
    *(naming.log2_state(m.plural, h) for m in naming.MEASURES for h in naming.HALF_LIVES_DAYS),
    *(naming.block_state(b) for b in range(naming.BLOCKS)),
    *(naming.last_at(m.singular) for m in naming.LAST_AT),
    "first_event_at",
    "first_purchase_at",
    *(naming.total(plural) for plural in ("purchases", "revenue", "refunds")),
)
PROFILE_INPUTS: Final = ("utc_offset_minutes",)

PLACEMENT_INPUTS: Final = (
    naming.UNSEEN_DAYS,
    naming.SEEN_THROUGH_AT,
    *(naming.log2_state(naming.UNSEEN_SENDS, h) for h in naming.HALF_LIVES_DAYS),
)

SEND_TIME_INPUTS: Final = (*ACTIVITY_INPUTS, *PROFILE_INPUTS, *PLACEMENT_INPUTS)
"""Stored columns that `send_time` reads."""

LEAST_SEEN_SHARE: Final = 0.01
"""So much of the sends counts as seen in rates at least, so that no rate divides by nothing."""


_ROW: Final = {name: row for row, name in enumerate(SEND_TIME_INPUTS)}


def _rows(names: Iterable[str]) -> list[int]:
    return [_ROW[name] for name in names]


# Where each input stands, and constants shaped to meet (measure, half-life, customer).
_STATES: Final = slice(0, len(naming.MEASURES) * len(naming.HALF_LIVES_DAYS))
_BLOCK_ROWS: Final = _rows(naming.block_state(b) for b in range(naming.BLOCKS))
_NEWEST: Final = _rows(
    naming.last_at("purchase" if m.money else m.singular) for m in naming.MEASURES
)
_SINCE: Final = _rows((*(naming.last_at(m.singular) for m in naming.LAST_AT), "first_event_at"))
_UNIT_S: Final = np.array([[3600.0]] * len(naming.LAST_AT) + [[_DAY_S]])
_HALF_LIVES_S: Final = np.array(naming.HALF_LIVES_DAYS)[:, np.newaxis] * _DAY_S
_PLURALS: Final = [m.plural for m in naming.MEASURES]
_PART: Final = [_PLURALS.index(of) for of, _ in _RATES]
_WHOLE: Final = [_PLURALS.index(per) for _, per in _RATES]

# What runs on the exposure clock: 1.0 for measures of what only a person who sees mail does.
_CLOCKED: Final = np.array([[float(m.human)] for m in naming.MEASURES])
_SINCE_CLOCKED: Final = np.array([*([float(m.human)] for m in naming.LAST_AT), [0.0]])
_SEEN_LAST: Final = _rows(naming.last_at(m.singular) for m in naming.MEASURES if m.human)
_UNSEEN: Final = _rows(naming.log2_state(naming.UNSEEN_SENDS, h) for h in naming.HALF_LIVES_DAYS)
_SENDS: Final = _PLURALS.index("sends")
_PER_SENDS: Final = np.array([per == "sends" for _, per in _RATES])[:, np.newaxis, np.newaxis]


def send_time(columns: Columns, send_at: npt.ArrayLike) -> dict[str, Floats]:
    """The SEND_TIME features of each row, read at its `send_at` (epoch seconds).

    `columns` holds at least SEND_TIME_INPUTS; the values of `utc_offset_minutes` may be those of
    the request instead of the stored ones; without one, local time is UTC.
    """
    held = np.array([columns[name] for name in SEND_TIME_INPUTS], dtype=np.float64)
    features = send_time_matrix(held, np.asarray(send_at, dtype=np.float64))
    return dict(zip(SEND_TIME, features, strict=True))


def send_time_matrix(held: Floats, at: Floats) -> Floats:
    """As `send_time`, for SEND_TIME_INPUTS as rows; returns SEND_TIME as rows."""
    states = held[_STATES].reshape(len(naming.MEASURES), len(naming.HALF_LIVES_DAYS), -1)
    debt = _debt(held)
    # An amount of zero has the logarithm -inf; what is undefined becomes NaN on purpose.
    with np.errstate(all="ignore"):
        decayed, trends = _decayed_and_trends(states, held[_NEWEST], at - _CLOCKED * debt)
        features = np.concatenate(
            [
                decayed,
                _shares(states, held[_UNSEEN]),
                trends,
                np.maximum(at - _SINCE_CLOCKED * debt - held[_SINCE], 0.0) / _UNIT_S,
                _orders(held, at),
                _local(held, at),
            ]
        )
    return np.where(np.isnan(at), np.nan, features)


def _debt(held: Floats) -> Floats:
    """Seconds for which the exposure clock stood still since the customer was last seen.

    The stream knows of opens and clicks after the midnight that the unseen days are of: one that
    is newer than all that were counted then says that mail is seen again.
    """
    through = held[_ROW[naming.SEEN_THROUGH_AT]]
    last = np.fmax.reduce(held[_SEEN_LAST], axis=0)
    is_back = (last > through) | (np.isnan(through) & ~np.isnan(last))
    days = held[_ROW[naming.UNSEEN_DAYS]]
    return np.where(is_back | ~(days > 0.0), 0.0, days * _DAY_S)


def _decayed_and_trends(states: Floats, newest: Floats, at: Floats) -> tuple[Floats, Floats]:
    """Decayed values (0.0 when nothing was counted), and trends; `at` is by measure and customer.

    A trend is the daily pace in the shortest memory over that in the longest.
    """
    log2_now = states - np.fmax(at, newest)[:, np.newaxis] / _HALF_LIVES_S
    decayed = np.exp2(log2_now)
    trends = np.exp2(log2_now[:, 0] - log2_now[:, -1]) * (_LONG / _SHORT)
    return np.where(np.isnan(decayed), 0.0, decayed).reshape(-1, states.shape[-1]), trends


def _shares(states: Floats, unseen: Floats) -> Floats:
    """Decayed values over others: 0.0 when only the part is empty and NaN when the whole is.

    Both decay alike, so a share needs no time and cannot underflow. Of sends, only those that were
    seen are the whole.
    """
    part = np.where(np.isnan(states), -np.inf, states)[_PART]
    shares = np.exp2(part - states[_WHOLE])
    share_unseen = np.exp2(np.where(np.isnan(unseen), -np.inf, unseen) - states[_SENDS])
    seen = np.fmax(1.0 - np.fmax(share_unseen, 0.0), LEAST_SEEN_SHARE)
    # What was opened or clicked was seen, whatever the last midnight thought.
    seen = np.fmax(seen, np.fmin(shares, 1.0))
    return (shares / np.where(_PER_SENDS, seen, 1.0)).reshape(-1, states.shape[-1])


def _orders(held: Floats, at: Floats) -> Floats:
    """Habits of buying; NaN below one order, for gaps below two orders at different times."""
    orders = held[_ROW[naming.total("purchases")]]
    first, last = held[_ROW["first_purchase_at"]], held[_ROW[naming.last_at("purchase")]]
    bought = np.where(orders > 0.0, orders, np.nan)
    gap_days = (last - first) / _DAY_S / np.where(orders > 1.0, orders - 1.0, np.nan)
    return np.stack(
        [
            held[_ROW[naming.total("revenue")]] / bought,
            held[_ROW[naming.total("refunds")]] / bought,
            gap_days,
            np.maximum(at - last, 0.0) / _DAY_S / np.where(gap_days > 0.0, gap_days, np.nan),
        ]
    )


def _local(held: Floats, at: Floats) -> Floats:
    """The customer's clock at the send, and the share of their engagement in its block."""
    offset = held[_ROW["utc_offset_minutes"]]
    local = at + np.where(np.isnan(offset), 0.0, offset) * 60.0
    second = np.mod(local, _DAY_S)
    states = held[_BLOCK_ROWS]
    # Only quotients matter, so the greatest block is made 1 and nothing can overflow.
    weights = np.exp2(states - np.fmax.reduce(states, axis=0))
    weights = np.where(np.isnan(weights), 0.0, weights)
    block = np.floor(second / _BLOCK_S)
    chosen = (weights * (np.arange(naming.BLOCKS)[:, np.newaxis] == block)).sum(axis=0)
    return np.stack(
        [
            np.floor(second / 3600.0),
            np.mod(np.floor(local / _DAY_S) + _EPOCH_WEEKDAY, 7.0),
            chosen / weights.sum(axis=0),
        ]
    )
