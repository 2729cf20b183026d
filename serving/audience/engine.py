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

from serving.audience.jobs import CUSTOMER
from serving.matrix import MatrixReader
from serving.placement import GHOST, Remedy
from serving.schemas import LONGEST_ID
from serving.scoring import Known, Rules, known_at_send
from serving.served import NUMBER_ROWS, TEXT_ROWS
from serving.store import Stored
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
        self._send_at, self._now = send_at.timestamp(), now.timestamp()
        self._matrix = MatrixReader(served.model.encoder, NUMBER_ROWS, TEXT_ROWS)

    def score(self, customers: Sequence[str | None]) -> tuple[pa.RecordBatch, Counts]:
        """The rows of some customers, in their order, and what they came to.

        An id that cannot be one has a row with `problem`. Asks the store once.

        Raises:
            StoreUnavailable: it does not answer.
        """
        usable = [c if c and len(c) <= LONGEST_ID else None for c in customers]
        bad = np.array([c is None for c in usable])
        stored = self._reader.read([c or "-" for c in usable])
        at = np.full(len(customers), self._send_at)
        known = known_at_send(stored, at, None, now=self._now, rules=self._rules)
        model = self._served.model
        scores = model.score_matrix(self._matrix.matrix(known.numbers, known.texts))
        scores = np.where(known.found, scores, model.base_rate)
        tiers = self._tiers(scores)
        causes = [None if one is None else one.cause for one in known.degraded]
        good = (~bad).tolist()
        counts = Counts(_counted(tiers, good), _counted(causes, good), int(bad.sum()))
        return self._rows(customers, known, scores, tiers, causes, bad), counts

    def _tiers(self, scores: Floats) -> list[str | None]:
        policy = self._served.policy
        if policy is None:
            return [None] * len(scores)
        return [policy.names[place] for place in tier_numbers(policy.cuts, scores).tolist()]

    def _rows(
        self,
        customers: Sequence[str | None],
        known: Known,
        scores: Floats,
        tiers: Sequence[str | None],
        causes: Sequence[str | None],
        bad: npt.NDArray[np.bool_],
    ) -> pa.RecordBatch:
        rows = len(customers)
        last = np.where(bad, np.nan, known.as_of)
        ghost = known.ghost
        columns = [
            pa.array(customers, pa.string()),
            pa.array(scores, pa.float64(), mask=bad),
            pa.array(tiers, pa.string(), mask=bad),
            pa.array([self._served.version] * rows, pa.string()),
            _times(last),
            pa.array(self._send_at - last, pa.float64(), from_pandas=True),
            pa.array(causes, pa.string(), mask=bad),
            pa.array(known.p_inbox_28d, pa.float64(), from_pandas=True),
            pa.array(ghost, pa.float64(), from_pandas=True),
            pa.array(np.full(rows, Remedy.REPAIR.value), mask=~(ghost >= GHOST)),
            pa.array(np.full(rows, _BAD_ID), mask=~bad),
        ]
        return pa.record_batch(columns, schema=SCHEMA)


def _counted(words: Sequence[str | None], wanted: Sequence[bool]) -> Counter[str]:
    return Counter(
        word for word, is_wanted in zip(words, wanted, strict=True) if is_wanted and word
    )


def _times(seconds: Floats) -> pa.Array:
    none = np.isnan(seconds)
    micros = np.round(np.where(none, 0.0, seconds) * 1e6).astype(np.int64)
    return pa.array(micros, mask=none).cast(SCHEMA.field("as_of").type)


def parse_send_at(text: str | None, now: datetime) -> datetime:
    """The moment a job scores for: its own, else now."""
    return now if text is None else datetime.fromisoformat(text).astimezone(UTC)
