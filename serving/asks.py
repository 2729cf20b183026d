"""What is asked of the scoring service, checked: by HTTP, by the queue or by a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec


class AskedCustomer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One recipient and what is special about this message to them."""

    customer_id: str
    utc_offset_minutes: int | None = None
    campaign_id: str | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Customers to score for one target at one moment."""

    target: str
    customers: Sequence[AskedCustomer]
    #: When the message goes out, epoch seconds; None: now.
    send_at: float | None = None
    #: How many of each score's reasons are wanted; 0: none.
    reasons: int = 0
    #: `time.monotonic()` at which the answer is worthless; None: never.
    deadline: float | None = None
    request_id: str = ""
