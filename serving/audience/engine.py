"""Scores chunks of customers with the model and the tiers that this installation serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo import transforms
from serving.audience.jobs import CUSTOMER
from serving.matrix import MatrixReader
from serving.placement import GHOST, Remedy
from serving.schemas import LONGEST_ID, Cause
from serving.scoring import Rules, newest_events
from serving.store import NUMBERS, TEXTS, Stored
from serving.tiers import TierPolicy, tier_numbers
from serving.watch import Model

ROWS: Final = 4_000
"""Customers of one chunk: enough that Redis answers for some while others are decoded."""

SCHEMA: Final = pa.schema(
    [
        pa.field(CUSTOMER, pa.string()),
        pa.field("score", pa.float64()),
        pa.field("tier", pa.string()),
        pa.field("model_version", pa.string()),
        # The newest event counted, and its age at the send.
        pa.field("as_of", pa.timestamp("us", tz="UTC")),
        pa.field("age_s", pa.float64()),
        # Cause of a degraded score, null for a full one.
        pa.field("degraded", pa.string()),
        pa.field("p_inbox_28d", pa.float64()),
        pa.field("ghost", pa.float64()),
        # `repair`: mend the delivery of their mail; null: nothing to do.
        pa.field("action", pa.string()),
        # Why the row has no score; null where it has one.
        pa.field("problem", pa.string()),
    ]
)

_NAMES: Final = (*NUMBERS, *transforms.SEND_TIME)
_INPUTS: Final = np.array([NUMBERS.index(name) for name in transforms.SEND_TIME_INPUTS])
_CAUSES: Final = (None, Cause.UNKNOWN_CUSTOMER, Cause.FEATURES_AFTER_SEND_AT, Cause.STALE_FEATURES)
_BAD_ID: Final = f"customer_id must be 1 to {LONGEST_ID} characters"

Floats = npt.NDArray[np.float64]


class Reader(Protocol):
    """Reads many customers at once, in this thread."""

    def read(self, customer_ids: Sequence[str]) -> Stored:
        """What the store holds of them; raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a job scores with, from its beginning to its end."""

    model: Model
    version: str
    policy: TierPolicy | None


@dataclass(frozen=True, slots=True)
class Counts:
    """What a chunk came to."""

    tiers: Counter[str]
    degraded: Counter[str]
    unusable: int


class AudienceScorer:
    """One job's way from ids to rows of SCHEMA. Not shared between threads."""

    def __init__(
        self, served: Served, reader: Reader, rules: Rules, *, send_at: datetime, now: datetime
    ) -> None:
        self._served, self._reader, self._rules = served, reader, rules
        self._send_at, self._used_at = send_at.timestamp(), min(now, send_at).timestamp()
        self._matrix = MatrixReader(served.model.encoder, _NAMES, TEXTS)

    def score(self, customers: Sequence[str | None]) -> tuple[pa.RecordBatch, Counts]:
        """The rows of some customers, in their order, and what they came to.

        An id that cannot be one has a row with `problem`. Asks the store once.

        Raises:
            StoreUnavailable: it does not answer.
        """
        usable = [c if c and len(c) <= LONGEST_ID else None for c in customers]
        bad = np.array([c is None for c in usable])
        stored = self._reader.read([c or "-" for c in usable])
        scores = self._scores(stored)
        causes = self._causes(stored)
        tiers = self._tiers(scores)
        kept = ~bad
        counts = Counts(
            Counter(tier for tier, good in zip(tiers, kept, strict=True) if good and tier),
            _counted(causes[kept]),
            int(bad.sum()),
        )
        return self._rows(customers, stored, scores, tiers, causes, bad), counts

    def _scores(self, stored: Stored) -> Floats:
        model, rows = self._served.model, stored.numbers.shape[1]
        at = np.full(rows, self._send_at)
        at_send = transforms.send_time_matrix(stored.numbers[_INPUTS], at)
        numbers = np.concatenate([stored.numbers, at_send])
        scores = model.score_matrix(self._matrix.matrix(numbers, stored.texts))
        return np.where(stored.found, scores, model.base_rate)

    def _causes(self, stored: Stored) -> npt.NDArray[np.int64]:
        """Place in _CAUSES of each row; the first that applies, as for single answers."""
        through = stored.through
        is_stale = (
            through is None or self._used_at - through.timestamp() > self._rules.stale_after_s
        )
        late = stored.known_at > self._send_at + self._rules.clock_skew_s
        causes = np.where(late, 2, 3 if is_stale else 0)
        return np.where(stored.found, causes, 1)

    def _tiers(self, scores: Floats) -> list[str | None]:
        policy = self._served.policy
        if policy is None:
            return [None] * len(scores)
        return [policy.names[place] for place in tier_numbers(policy.cuts, scores).tolist()]

    def _rows(
        self,
        customers: Sequence[str | None],
        stored: Stored,
        scores: Floats,
        tiers: Sequence[str | None],
        causes: npt.NDArray[np.int64],
        bad: npt.NDArray[np.bool_],
    ) -> pa.RecordBatch:
        rows = len(customers)
        last = np.where(bad, np.nan, newest_events(stored))
        ghost = stored.numbers[NUMBERS.index("ghost")]
        labels = np.array([None if c is None else c.value for c in _CAUSES], dtype=object)
        columns = [
            pa.array(customers, pa.string()),
            pa.array(scores, pa.float64(), mask=bad),
            pa.array(tiers, pa.string(), mask=bad),
            pa.array([self._served.version] * rows, pa.string()),
            _times(last),
            pa.array(self._send_at - last, pa.float64(), from_pandas=True),
            pa.array(labels[causes], pa.string(), mask=bad),
            pa.array(stored.numbers[NUMBERS.index("p_inbox_28d")], from_pandas=True),
            pa.array(ghost, pa.float64(), from_pandas=True),
            pa.array(np.full(rows, Remedy.REPAIR.value), mask=~(ghost >= GHOST)),
            pa.array(np.full(rows, _BAD_ID), mask=~bad),
        ]
        return pa.record_batch(columns, schema=SCHEMA)


def _counted(causes: npt.NDArray[np.int64]) -> Counter[str]:
    counts = np.bincount(causes, minlength=len(_CAUSES)).tolist()
    return Counter(
        {c.value: n for c, n in zip(_CAUSES, counts, strict=True) if c is not None and n}
    )


def _times(seconds: Floats) -> pa.Array:
    none = np.isnan(seconds)
    micros = np.round(np.where(none, 0.0, seconds) * 1e6).astype(np.int64)
    return pa.array(micros, mask=none).cast(SCHEMA.field("as_of").type)


def parse_send_at(text: str | None, now: datetime) -> datetime:
    """The moment a job scores for: its own, else now."""
    return now if text is None else datetime.fromisoformat(text).astimezone(UTC)
