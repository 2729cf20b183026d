"""A foreign event that could not become a canonical one: kept, with the reason and the place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """One event of a body that did not fit its mapping."""

    provider: str
    #: Machine-readable word, e.g. `missing_customer_id`, `bad_time`, `not_an_object`.
    reason: str
    #: A sentence with the value and what would have been right. Never an e-mail address.
    detail: str
    #: Where in the event, e.g. `event-data.timestamp`; empty when it is the event as a whole.
    path: str
    #: Place of the event in its body, from 0.
    index: int
    #: The provider's own word for what happened, None when it could not be found.
    provider_event: str | None
    #: The event as JSON, as it came.
    payload: bytes
    received_time: datetime
    #: Record of the raw store it came in; None when it did not come through it.
    raw_ref: str | None
    #: Structural fingerprint of the event.
    schema_fingerprint: str | None
    #: The newest mapping that was tried, e.g. `sendgrid@1`.
    mapping_version: str | None
