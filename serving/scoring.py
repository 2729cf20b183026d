"""From what the store holds to what is known at the send: pure arithmetic, no clock, no network.

An answer is degraded for the first of these causes that applies, and says so:

    store_unavailable       nothing could be read; the score is the last one this server computed
                            for the customer and target, else the model's base rate
    unknown_customer        the store holds no view of the customer; the score is the base rate
    features_after_send_at  a feature used became known after send_at + clock skew
    stale_features          the store is complete only to a moment more than `stale_after_s` before
                            min(now, send_at), or it does not say how far it is complete

For the last two the model's score is given: it is right for what is stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feature_repo import transforms
from feature_repo.event import EARLIEST
from serving.answers import DegradedAnswer
from serving.last_scores import LastScore
from serving.schemas import LATEST, Cause, ScoreOrigin
from serving.served import NUMBER_ROWS
from serving.store import LAST_EVENT_AT, NUMBERS, Stored

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[Any]

_HELD: Final = len(NUMBERS)
_INPUTS: Final = np.array([NUMBERS.index(name) for name in transforms.SEND_TIME_INPUTS])
_UTC_OFFSET: Final = NUMBERS.index("utc_offset_minutes")
_LAST_EVENT: Final = NUMBERS.index(LAST_EVENT_AT)
_P_INBOX: Final = NUMBERS.index("p_inbox_28d")
_GHOST: Final = NUMBERS.index("ghost")
_EARLIEST_S: Final = EARLIEST.timestamp()
_LATEST_S: Final = LATEST.timestamp()


@dataclass(frozen=True, slots=True)
class Rules:
    """When features count as too old or too new."""

    stale_after_s: float
    clock_skew_s: float


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of some customers, each at the moment of its send."""

    #: (len(NUMBER_ROWS), customers), NaN = missing: the stored numbers, then those of the send.
    numbers: Floats
    #: One array of customers per name of `served.TEXT_ROWS`.
    texts: Sequence[Texts]
    #: (customers,), epoch seconds.
    send_at: Floats
    #: Whether the store holds anything of the customer.
    found: npt.NDArray[np.bool_]
    #: Newest event counted, epoch seconds; NaN when there is none.
    as_of: Floats
    #: (views, customers), epoch seconds; NaN: no row.
    view_known_at: Floats
    degraded: Sequence[DegradedAnswer | None]

    @property
    def p_inbox_28d(self) -> Floats:
        """Chance that mail of the last 28 days reached the inbox; NaN where it is not known."""
        row: Floats = self.numbers[_P_INBOX]
        return row

    @property
    def ghost(self) -> Floats:
        """Chance that the last mails did not reach it; NaN where it is not known."""
        row: Floats = self.numbers[_GHOST]
        return row

    def take(self, rows: Sequence[int]) -> Known:
        """Of these customers only, in this order."""
        return Known(
            self.numbers.take(rows, axis=1),
            [column[rows] for column in self.texts],
            self.send_at[rows],
            self.found[rows],
            self.as_of[rows],
            self.view_known_at.take(rows, axis=1),
            [self.degraded[row] for row in rows],
        )


def known_at_send(
    stored: Stored, send_at: Floats, utc_offsets: Floats | None, *, now: float, rules: Rules
) -> Known:
    """What is known of the stored customers at `send_at`, epoch seconds as `now`.

    `utc_offsets`, in minutes, replace the stored ones where they are not NaN; None: nowhere.
    """
    numbers = np.empty((len(NUMBER_ROWS), len(send_at)))
    numbers[:_HELD] = stored.numbers
    if utc_offsets is not None:
        np.copyto(numbers[_UTC_OFFSET], utc_offsets, where=~np.isnan(utc_offsets))
    numbers[_HELD:] = transforms.send_time_matrix(numbers.take(_INPUTS, axis=0), send_at)
    return Known(
        numbers,
        stored.texts,
        send_at,
        stored.found,
        newest_events(stored),
        stored.view_known_at,
        degradations(stored, send_at, now=now, rules=rules),
    )


def newest_events(stored: Stored) -> Floats:
    """Newest event of each stored customer, epoch seconds; NaN when there is none.

    What no event's time can be counts as none: one damaged value must not fail its batch.
    """
    newest = stored.numbers[_LAST_EVENT]
    is_time = stored.found & (newest >= _EARLIEST_S) & (newest < _LATEST_S)
    return np.where(is_time, newest, np.nan)


UNKNOWN: Final = DegradedAnswer(
    Cause.UNKNOWN_CUSTOMER.value,
    ScoreOrigin.BASE_RATE.value,
    "The feature store holds nothing about this customer; the score is the model's base rate.",
)
LATE: Final = DegradedAnswer(
    Cause.FEATURES_AFTER_SEND_AT.value,
    ScoreOrigin.MODEL.value,
    "The stored features include what became known only after send_at.",
)
PRIOR: Final = DegradedAnswer(
    Cause.STORE_UNAVAILABLE.value,
    ScoreOrigin.BASE_RATE.value,
    "The feature store does not answer and no score of this customer is remembered; the score "
    "is the model's base rate.",
)


def from_last(last: LastScore, now: datetime) -> DegradedAnswer:
    """What is said of a score that was computed before."""
    age_s = (now - last.scored_at).total_seconds()
    return DegradedAnswer(
        Cause.STORE_UNAVAILABLE.value,
        ScoreOrigin.LAST_SCORE.value,
        "The feature store does not answer; the score is the one computed "
        f"{age_s:.0f} s ago by model version {last.model_version}.",
    )


def degradations(
    stored: Stored, send_at: Floats, *, now: float, rules: Rules
) -> list[DegradedAnswer | None]:
    """Why each customer's answer is less than a fresh score; times in epoch seconds."""
    is_late = stored.known_at > send_at + rules.clock_skew_s
    through = stored.through
    is_stale = (
        np.ones(len(send_at), dtype=np.bool_)
        if through is None
        else np.minimum(send_at, now) - through.timestamp() > rules.stale_after_s
    )
    is_less = is_late | is_stale | ~stored.found
    if not is_less.any():
        return [None] * len(send_at)
    stale = _stale(through)
    rows = zip(stored.found.tolist(), is_late.tolist(), is_stale.tolist(), strict=True)
    return [
        UNKNOWN if not found else LATE if late else stale if old else None
        for found, late, old in rows
    ]


def _stale(through: datetime | None) -> DegradedAnswer:
    detail = (
        "The feature store does not say how far it is complete; run `foresend features load`."
        if through is None
        else f"The feature store is complete only to {iso(through)}."
    )
    return DegradedAnswer(Cause.STALE_FEATURES.value, ScoreOrigin.MODEL.value, detail)


def iso(when: datetime) -> str:
    """ISO-8601 in UTC with `Z`.

    >>> iso(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return when.astimezone(UTC).isoformat()[:-6] + "Z"


def iso_epoch(seconds: float) -> str | None:
    """ISO-8601 of epoch seconds, None for NaN.

    >>> iso_epoch(0.0), iso_epoch(float("nan"))
    ('1970-01-01T00:00:00Z', None)
    """
    return None if math.isnan(seconds) else iso_moment(seconds)


def iso_moment(seconds: float) -> str:
    """ISO-8601 of epoch seconds, to the microsecond.

    >>> iso_moment(1.5)
    '1970-01-01T00:00:01.500000Z'
    """
    whole, micros = divmod(round(seconds * 1e6), 1_000_000)
    return f"{_iso_second(whole)}.{micros:06d}Z" if micros else f"{_iso_second(whole)}Z"


@lru_cache(maxsize=8192)
def _iso_second(seconds: int) -> str:
    # Newest events and moments of sends crowd in few seconds.
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:-6]
