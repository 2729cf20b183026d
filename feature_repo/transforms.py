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
from itertools import pairwise
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

# Where each group of features stands in SEND_TIME, one behind the other.
_ENDS: Final = np.cumsum(
    [
        len(naming.MEASURES) * len(naming.HALF_LIVES_DAYS),
        len(_RATES) * len(naming.HALF_LIVES_DAYS),
        len(naming.MEASURES),
        len(naming.LAST_AT) + 1,
        4,
        3,
    ]
).tolist()
_DECAYED_ROWS, _RATE_ROWS, _TREND_ROWS, _HOUR_ROWS, _ORDER_ROWS, _LOCAL_ROWS = (
    slice(start, end) for start, end in pairwise((0, *_ENDS))
)

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
_ORDERS, _REVENUE, _REFUNDS = _rows(naming.total(n) for n in ("purchases", "revenue", "refunds"))
_FIRST_BOUGHT, _LAST_BOUGHT = _rows(("first_purchase_at", naming.last_at("purchase")))
_OFFSET: Final = _ROW["utc_offset_minutes"]
_BLOCK_NUMBERS: Final = np.arange(naming.BLOCKS)[:, np.newaxis]
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
    """As `send_time`, for SEND_TIME_INPUTS as rows; returns SEND_TIME as rows.

    For a few customers the calls of NumPy are what it costs, so there are no more than needed.
    """
    states = held[_STATES].reshape(len(naming.MEASURES), len(naming.HALF_LIVES_DAYS), -1)
    debt = _debt(held)
    features = np.empty((len(SEND_TIME), len(at)))
    # An amount of zero has the logarithm -inf; what is undefined becomes NaN on purpose.
    with np.errstate(all="ignore"):
        seen_at = at if debt is None else at - _CLOCKED * debt
        _decayed_and_trends(states, held[_NEWEST], seen_at, features)
        features[_RATE_ROWS] = _shares(states, held[_UNSEEN]).reshape(-1, len(at))
        since = at if debt is None else at - _SINCE_CLOCKED * debt
        hours = features[_HOUR_ROWS]
        np.maximum(np.subtract(since, held[_SINCE], out=hours), 0.0, out=hours)
        hours /= _UNIT_S
        _orders(held, at, features)
        _local(held, at, features)
    undated = np.isnan(at)
    if undated.any():
        features[:, undated] = np.nan
    return features


def _debt(held: Floats) -> Floats | None:
    """Seconds for which the exposure clock stood still since the customer was last seen.

    The stream knows of opens and clicks after the midnight that the unseen days are of: one that
    is newer than all that were counted then says that mail is seen again. None: it went on for
    everybody.
    """
    days = held[_ROW[naming.UNSEEN_DAYS]]
    is_owed = days > 0.0
    if not is_owed.any():
        return None
    through = held[_ROW[naming.SEEN_THROUGH_AT]]
    last = np.fmax.reduce(held[_SEEN_LAST], axis=0)
    is_back = (last > through) | (np.isnan(through) & ~np.isnan(last))
    return np.where(is_back | ~is_owed, 0.0, days * _DAY_S)


def _decayed_and_trends(states: Floats, newest: Floats, at: Floats, features: Floats) -> None:
    """Decayed values (0.0 when nothing was counted), and trends; `at` is by measure and customer,
    or by customer.

    A trend is the daily pace in the shortest memory over that in the longest.
    """
    log2_now = states - np.fmax(at, newest)[:, np.newaxis] / _HALF_LIVES_S
    decayed = features[_DECAYED_ROWS].reshape(states.shape)
    np.exp2(log2_now, out=decayed)
    np.copyto(decayed, 0.0, where=np.isnan(decayed))
    trends = features[_TREND_ROWS]
    np.exp2(log2_now[:, 0] - log2_now[:, -1], out=trends)
    trends *= _LONG / _SHORT


def _shares(states: Floats, unseen: Floats) -> Floats:
    """Decayed values over others: 0.0 when only the part is empty and NaN when the whole is.

    Both decay alike, so a share needs no time and cannot underflow. Of sends, only those that were
    seen are the whole.
    """
    part = states[_PART]
    np.copyto(part, -np.inf, where=np.isnan(part))
    shares: Floats = np.exp2(part - states[_WHOLE])
    is_unknown = np.isnan(unseen)
    if is_unknown.all():
        # All sends were seen.
        return shares
    share_unseen = np.exp2(np.where(is_unknown, -np.inf, unseen) - states[_SENDS])
    seen = np.fmax(1.0 - np.fmax(share_unseen, 0.0), LEAST_SEEN_SHARE)
    # What was opened or clicked was seen, whatever the last midnight thought.
    seen = np.fmax(seen, np.fmin(shares, 1.0))
    shares /= np.where(_PER_SENDS, seen, 1.0)
    return shares


def _orders(held: Floats, at: Floats, features: Floats) -> None:
    """Habits of buying; NaN below one order, for gaps below two orders at different times."""
    orders = held[_ORDERS]
    first, last = held[_FIRST_BOUGHT], held[_LAST_BOUGHT]
    average, refunds, gap_days, overdue = features[_ORDER_ROWS]
    bought = np.where(orders > 0.0, orders, np.nan)
    np.divide(held[_REVENUE], bought, out=average)
    np.divide(held[_REFUNDS], bought, out=refunds)
    between = np.where(orders > 1.0, orders - 1.0, np.nan)
    np.divide((last - first) / _DAY_S, between, out=gap_days)
    usual = np.where(gap_days > 0.0, gap_days, np.nan)
    np.divide(np.maximum(at - last, 0.0) / _DAY_S, usual, out=overdue)


def _local(held: Floats, at: Floats, features: Floats) -> None:
    """The customer's clock at the send, and the share of their engagement in its block."""
    offset = held[_OFFSET]
    local = at + np.where(np.isnan(offset), 0.0, offset) * 60.0
    second = np.mod(local, _DAY_S)
    states = held[_BLOCK_ROWS]
    # Only quotients matter, so the greatest block is made 1 and nothing can overflow.
    weights = np.exp2(states - np.fmax.reduce(states, axis=0))
    np.copyto(weights, 0.0, where=np.isnan(weights))
    block = np.floor(second / _BLOCK_S)
    chosen = np.add.reduce(weights * (block == _BLOCK_NUMBERS), axis=0)
    hour, weekday, affinity = features[_LOCAL_ROWS]
    np.floor(second / 3600.0, out=hour)
    np.mod(np.floor(local / _DAY_S) + _EPOCH_WEEKDAY, 7.0, out=weekday)
    np.divide(chosen, np.add.reduce(weights, axis=0), out=affinity)
