"""What the scoring service answers, in the shape in which it leaves (schemas.py documents it).

These are msgspec structs: they become JSON in half a microsecond a customer.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from serving.placement import Remedy


class Reason(msgspec.Struct, frozen=True, gc=False):
    """What one feature added to a score."""

    feature: str
    #: The value the model saw; None where it is missing.
    value: float | str | None
    #: Probability points; the reasons, `other` and `base` sum to the score.
    points: float
    #: Seconds from the moment the value was known to the send; None where that is not known.
    age_s: float | None


class Reasons(msgspec.Struct, frozen=True, gc=False):
    """Why a score is what it is, the strongest first."""

    #: The score of a customer of whom every feature says nothing.
    base: float
    top: Sequence[Reason]
    #: Probability points of all other features together.
    other: float
    #: How the points were found: `path` (the way through the trees) or `linear`.
    method: str


class PlacementAnswer(msgspec.Struct, frozen=True, gc=False):
    """How the customer's mail was placed."""

    p_inbox_28d: float | None
    ghost: float | None
    action: Remedy | None


class DegradedAnswer(msgspec.Struct, frozen=True, gc=False):
    """Why a score is less than it should be."""

    cause: str
    score_is: str
    detail: str


class ScoreAnswer(msgspec.Struct, frozen=True, gc=False):
    """The answer for one customer."""

    customer_id: str
    score: float
    tier: str | None
    #: The version that scored this customer: the champion's, or with `canary` the challenger's.
    model_version: str
    canary: bool
    #: Newest event counted, ISO 8601; None when there is none.
    as_of: str | None
    age_s: float | None
    placement: PlacementAnswer | None
    degraded: DegradedAnswer | None
    #: None unless asked for, and for scores the model did not compute.
    reasons: Reasons | None


class ModelAnswer(msgspec.Struct, frozen=True, gc=False):
    """The champion that was served."""

    name: str
    version: str
    run_id: str | None
    loaded_at: str


class TierPolicyAnswer(msgspec.Struct, frozen=True, gc=False):
    """The approved tiers that were used."""

    model_version: str
    approved_by: str
    approved_at: str
    is_current: bool
    names: Sequence[str]
    cuts: Sequence[float]


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Scores in the order of the customers asked for."""

    request_id: str
    target: str
    send_at: str
    model: ModelAnswer
    tier_policy: TierPolicyAnswer | None
    scores: Sequence[ScoreAnswer]
