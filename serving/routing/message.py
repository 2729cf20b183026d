"""The messages of scoring by queue: what is asked, and what is told."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

REQUESTS: Final = "score.requests"
RESULTS: Final = "score.results"
CHANGED: Final = "score.changed"


class ActionKind(StrEnum):
    """What is to be done about the next message to a customer."""

    SEND = "send"  #: now
    HOLD = "hold"  #: until `until`, the customer's best hour or the end of a cap
    SUPPRESS = "suppress"  #: not this message
    REPAIR = "repair"  #: mail does not reach the inbox: mend its delivery first
    SUNSET = "sunset"  #: saw mail for long and did not care: stop mailing


class Action(msgspec.Struct, frozen=True, gc=False):
    """What is to be done, and why."""

    kind: ActionKind
    #: ISO 8601; only of `hold`.
    until: str | None
    #: For people: which of the customer's facts decided.
    reason: str
    #: Name of the rule of foresend.yaml, or `holdout`, `frequency_cap`, `default`.
    rule: str


class ScoreAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message of `score.requests`: score this customer and say what to do."""

    id: str
    target: str
    customer_id: str
    #: ISO 8601; None: now.
    send_at: str | None = None
    utc_offset_minutes: int | None = None
    campaign_id: str | None = None
    message_id: str | None = None
    #: ISO 8601: later than this an answer is of no use, and none is given.
    expires_at: str | None = None


class Routed(msgspec.Struct, frozen=True, kw_only=True):
    """A message of `score.results` or `score.changed`."""

    #: The same for the same answer, however often it is sent (`score_id`).
    id: str
    #: RESULTS or CHANGED.
    type: str
    #: When it was scored, ISO 8601.
    time: str
    #: After this moment nobody should act on it, ISO 8601.
    expires_at: str
    target: str
    customer_id: str
    score: float
    tier: str | None
    model_version: str
    #: Model version whose approved tiers were used.
    tier_policy: str | None
    #: Cause of a degraded score, None for a full one.
    degraded: str | None
    #: Newest event counted, ISO 8601.
    as_of: str | None
    action: Action
    #: Whether the customer is held out of routing by score, so that its lift can be measured.
    holdout: bool
    #: Rises with each message of this customer and target; an older one is to be ignored.
    seq: int
    #: Id of the request it answers; None for `score.changed`.
    request_id: str | None = None
    campaign_id: str | None = None
    message_id: str | None = None
    #: The last published tier and score; only of `score.changed`.
    tier_before: str | None = None
    score_before: float | None = None
