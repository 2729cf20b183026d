"""From what the store holds to answers: pure arithmetic, no clock and no network.

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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feature_repo import transforms
from serving.encoder import Columns
from serving.schemas import Cause, ScoreOrigin
from serving.store import LAST_EVENT_AT, Stored
from serving.watch import Model

Floats = npt.NDArray[np.float64]

UTC_OFFSET: Final = "utc_offset_minutes"


@dataclass(frozen=True, slots=True)
class Degradation:
    """Why an answer is less than it should be."""

    cause: Cause
    score_is: ScoreOrigin
    detail: str


@dataclass(frozen=True, slots=True)
class Rules:
    """When features count as too old or too new."""

    stale_after_s: float
    clock_skew_s: float


@dataclass(frozen=True, slots=True)
class Scored:
    """Answers for the customers of one request, in its order."""

    scores: Floats
    #: Newest event counted, epoch seconds; NaN when there is none.
    as_of: Floats
    degraded: tuple[Degradation | None, ...]
    #: Numbers of the model's features in its order (NaN for texts), None when nothing was read.
    features: Floats | None = None
    #: The model's text features in its order, one array each.
    texts: tuple[npt.NDArray[Any], ...] = ()
    #: Rows whose score the model computed.
    modelled: npt.NDArray[np.bool_] | None = None
    #: Chance that mail of the last 28 days reached the inbox, and that the last ones did not;
    #: NaN where no placement is known. None when nothing was read.
    p_inbox_28d: Floats | None = None
    ghost: Floats | None = None


def score_stored(
    model: Model,
    stored: Stored,
    *,
    send_at: datetime,
    now: datetime,
    utc_offsets: Floats,
    rules: Rules,
) -> Scored:
    """Answers from what was read. `utc_offsets` is NaN where the stored offset is to be used."""
    at = np.full(len(utc_offsets), send_at.timestamp())
    columns = at_send(stored.columns, at, utc_offsets)
    found = stored.found
    scores = np.where(found, model.predict(columns), model.base_rate)
    late = found & (stored.known_at > at + rules.clock_skew_s)
    stale = _staleness(stored.through, min(now, send_at), rules)
    degraded = tuple(
        UNKNOWN if not is_found else LATE if is_late else stale
        for is_found, is_late in zip(found.tolist(), late.tolist(), strict=True)
    )
    features, texts = _used(model, columns)
    return Scored(
        scores=scores,
        as_of=np.where(found, stored.columns[LAST_EVENT_AT], np.nan),
        degraded=degraded,
        features=features,
        texts=texts,
        modelled=found,
        p_inbox_28d=_context(stored, "p_inbox_28d"),
        ghost=_context(stored, "ghost"),
    )


def _context(stored: Stored, name: str) -> Floats:
    """A stored number that goes into the answer and not into the model; NaN where it is absent."""
    held = stored.columns.get(name)
    return np.full(len(stored.found), np.nan) if held is None else np.asarray(held, np.float64)


def at_send(stored: Columns, send_at: Floats, utc_offsets: Floats) -> Mapping[str, Any]:
    """Stored columns with those of the moment of the send, ready for any model."""
    offsets = np.where(np.isnan(utc_offsets), stored[UTC_OFFSET], utc_offsets)
    held = {**stored, UTC_OFFSET: offsets}
    return {**held, **transforms.send_time(held, send_at)}


@dataclass(frozen=True, slots=True)
class LastScore:
    """A score that was answered before."""

    score: float
    as_of: float
    scored_at: datetime
    model_version: str


def score_without_store(
    base_rate: float, last: Sequence[LastScore | None], *, now: datetime
) -> Scored:
    """Answers when nothing could be read: the last score where there is one, else the prior."""
    return Scored(
        scores=np.array([base_rate if one is None else one.score for one in last]),
        as_of=np.array([np.nan if one is None else one.as_of for one in last]),
        degraded=tuple(PRIOR if one is None else _from_last(one, now) for one in last),
    )


UNKNOWN: Final = Degradation(
    Cause.UNKNOWN_CUSTOMER,
    ScoreOrigin.BASE_RATE,
    "The feature store holds nothing about this customer; the score is the model's base rate.",
)
LATE: Final = Degradation(
    Cause.FEATURES_AFTER_SEND_AT,
    ScoreOrigin.MODEL,
    "The stored features include what became known only after send_at.",
)
PRIOR: Final = Degradation(
    Cause.STORE_UNAVAILABLE,
    ScoreOrigin.BASE_RATE,
    "The feature store does not answer and no score of this customer is remembered; the score "
    "is the model's base rate.",
)


def _from_last(last: LastScore, now: datetime) -> Degradation:
    age_s = (now - last.scored_at).total_seconds()
    return Degradation(
        Cause.STORE_UNAVAILABLE,
        ScoreOrigin.LAST_SCORE,
        "The feature store does not answer; the score is the one computed "
        f"{age_s:.0f} s ago by model version {last.model_version}.",
    )


def _staleness(through: datetime | None, used_at: datetime, rules: Rules) -> Degradation | None:
    if through is None:
        detail = (
            "The feature store does not say how far it is complete; run `foresend features load`."
        )
    elif (used_at - through).total_seconds() > rules.stale_after_s:
        detail = f"The feature store is complete only to {iso(through)}."
    else:
        return None
    return Degradation(Cause.STALE_FEATURES, ScoreOrigin.MODEL, detail)


def _used(model: Model, columns: Columns) -> tuple[Floats, tuple[npt.NDArray[Any], ...]]:
    """The values the model saw, as the prediction log keeps them."""
    names, texts = model.feature_names, set(model.categorical)
    rows = len(columns[names[0]]) if names else 0
    matrix = np.full((rows, len(names)), np.nan)
    for position, name in enumerate(names):
        if name not in texts:
            matrix[:, position] = columns[name]
    return matrix, tuple(np.asarray(columns[name]) for name in model.categorical)


def iso(when: datetime) -> str:
    """ISO-8601 in UTC with `Z`.

    >>> iso(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def iso_epoch(seconds: float) -> str | None:
    """ISO-8601 of epoch seconds, None for NaN.

    >>> iso_epoch(0.0), iso_epoch(float("nan"))
    ('1970-01-01T00:00:00Z', None)
    """
    return None if np.isnan(seconds) else iso(datetime.fromtimestamp(seconds, UTC))
