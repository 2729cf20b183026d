"""The customers of a micro-batch, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from serving.asks import Ask, AskedCustomer

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Customers of one or many requests, one after the other."""

    customers: Sequence[AskedCustomer]
    ids: Sequence[str]
    request_ids: Sequence[str]
    #: Reasons wanted of each customer; None: nobody wants any.
    reasons: Sequence[int] | None
    #: Epoch seconds.
    send_at: Floats
    #: Minutes, NaN where the stored one is to be used; None: everywhere.
    utc_offsets: Floats | None
    now: datetime

    @classmethod
    def of(cls, asks: Sequence[Ask], now: datetime) -> Batch:
        """The customers of all the requests, in order; `send_at` None is now."""
        at = now.timestamp()
        customers = [customer for ask in asks for customer in ask.customers]
        moments = [at if a.send_at is None else a.send_at for a in asks for _ in a.customers]
        offsets = None
        if any(c.utc_offset_minutes is not None for c in customers):
            offsets = np.array([c.utc_offset_minutes for c in customers], dtype=np.float64)
        reasons = None
        if any(ask.reasons for ask in asks):
            reasons = [ask.reasons for ask in asks for _ in ask.customers]
        return cls(
            customers,
            [customer.customer_id for customer in customers],
            [ask.request_id for ask in asks for _ in ask.customers],
            reasons,
            np.array(moments, dtype=np.float64),
            offsets,
            now,
        )

    def take(self, rows: Sequence[int]) -> Batch:
        """Of these customers only, in this order."""
        return Batch(
            [self.customers[row] for row in rows],
            [self.ids[row] for row in rows],
            [self.request_ids[row] for row in rows],
            None if self.reasons is None else [self.reasons[row] for row in rows],
            self.send_at[rows],
            None if self.utc_offsets is None else self.utc_offsets[rows],
            self.now,
        )
