"""What enters and leaves the API: checked on the way in, documentation on the way out."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from feature_repo.event import EARLIEST
from serving.placement import Remedy

MAX_CUSTOMERS: Final = 1000
LONGEST_ID: Final = 256
LONGEST_TARGET: Final = 64
FARTHEST_MINUTES: Final = 18 * 60
MOST_REASONS: Final = 20
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)

_ISO: Final = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:?\d{2})$"


class Cause(StrEnum):
    """Why an answer is less than a fresh score of a known customer; the first that applies."""

    #: The feature store did not answer in time; nothing was read.
    STORE_UNAVAILABLE = "store_unavailable"
    #: The feature store holds nothing about this customer.
    UNKNOWN_CUSTOMER = "unknown_customer"
    #: The features used include what became known only after `send_at`.
    FEATURES_AFTER_SEND_AT = "features_after_send_at"
    #: The feature store was last brought up to date too long ago, or nobody knows when.
    STALE_FEATURES = "stale_features"


class ScoreOrigin(StrEnum):
    """Where a degraded answer's score comes from."""

    #: Computed by the model as always, from features that are not what they should be.
    MODEL = "model"
    #: The last score this server computed for the customer and target.
    LAST_SCORE = "last_score"
    #: The share of positives the model was trained on: what is known of a customer not known.
    BASE_RATE = "base_rate"


def moment_of(value: object) -> datetime:
    """The moment an ISO-8601 text with an offset says, in UTC.

    Raises:
        ValueError: it says none, or one that nobody sends mail at; the message names the cure.
    """
    problem = (
        "must be an ISO-8601 time with an offset, such as 2026-11-24T08:30:00Z or "
        "2026-11-24T09:30:00+01:00"
    )
    if not isinstance(value, str) or re.match(_ISO, value) is None:
        raise ValueError(problem)
    try:
        when = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ValueError(problem) from exc
    if not EARLIEST <= when < LATEST:
        message = f"must be from {EARLIEST.date()} on and before {LATEST.date()}"
        raise ValueError(message)
    return when


SendAt = Annotated[datetime, BeforeValidator(moment_of, json_schema_input_type=str)]


class Customer(BaseModel):
    """One recipient and what is special about this message to them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    customer_id: str = Field(
        strict=True,
        min_length=1,
        max_length=LONGEST_ID,
        description="As in the events. Always a string, also when it looks like a number.",
        examples=["c-1001"],
    )
    utc_offset_minutes: int | None = Field(
        None,
        strict=True,
        ge=-FARTHEST_MINUTES,
        le=FARTHEST_MINUTES,
        description="The customer's local time minus UTC at the send; instead of the stored one.",
    )
    campaign_id: str | None = Field(
        None, strict=True, max_length=LONGEST_ID, description="Kept in the prediction log."
    )
    message_id: str | None = Field(
        None, strict=True, max_length=LONGEST_ID, description="Kept in the prediction log."
    )


class ScoreRequest(BaseModel):
    """Customers to score for one target at one moment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str = Field(
        strict=True,
        min_length=1,
        max_length=LONGEST_TARGET,
        description="A target of foresend.yaml.",
        examples=["purchase_30d"],
    )
    customers: list[Customer] = Field(
        min_length=1,
        max_length=MAX_CUSTOMERS,
        description="Answered in this order; one may be asked for twice.",
    )
    send_at: SendAt | None = Field(
        None,
        description="When the message goes out, ISO-8601 with an offset; now when left out.",
        json_schema_extra={"format": "date-time", "pattern": _ISO},
    )
    reasons: int = Field(
        0,
        strict=True,
        ge=0,
        le=MOST_REASONS,
        description="How many reasons of each score are wanted.",
    )


class ModelInfo(BaseModel):
    """The champion, which answers for all customers whose score does not say `canary`."""

    name: str
    version: str = Field(description="Version in the MLflow registry.")
    run_id: str | None = Field(description="MLflow run that trained it.")
    loaded_at: datetime = Field(description="When this server began to serve it.")


class Degraded(BaseModel):
    """Why a score is less than it should be."""

    cause: Cause
    score_is: ScoreOrigin
    detail: str


class PlacementInfo(BaseModel):
    """How the customer's mail was placed: a state of the mail, not of the customer."""

    p_inbox_28d: float | None = Field(
        ge=0, le=1, description="Chance that mail of the last 28 days reached the inbox."
    )
    ghost: float | None = Field(
        ge=0, le=1, description="Chance that the last five mails did not reach it."
    )
    action: Remedy | None = Field(
        description="`repair`: their mail most likely missed the inbox, so mend its delivery and "
        "do not sunset the customer. Null: nothing to do."
    )


class TierPolicyInfo(BaseModel):
    """The approved tiers that were used."""

    model_version: str = Field(description="Version they were approved for.")
    approved_by: str
    approved_at: datetime
    is_current: bool = Field(
        description="False: the version that scored has no approved tiers yet, and those of "
        "`model_version` go on."
    )
    names: list[str] = Field(description="From the lowest scores to the highest.")
    cuts: list[float] = Field(
        description="Between them; a score at a cut belongs to the tier above it."
    )


class ReasonInfo(BaseModel):
    """What one feature added to a score."""

    feature: str
    value: float | str | None = Field(description="What the model saw; null where it is missing.")
    points: float = Field(description="Probability points; negative ones lower the score.")
    age_s: float | None = Field(
        description="Seconds from when the value was known to the send; null where nobody knows."
    )


class ReasonsInfo(BaseModel):
    """Why a score is what it is: `base`, the points of `top` and `other` sum to it."""

    base: float = Field(description="The score of a customer of whom every feature says nothing.")
    top: list[ReasonInfo] = Field(description="The strongest first.")
    other: float = Field(description="Points of all other features together.")
    method: str = Field(
        description="`path` (the way through the trees) or `linear`.", examples=["path"]
    )


class Score(BaseModel):
    """The answer for one customer of the request, at the same place."""

    customer_id: str
    score: float = Field(ge=0, le=1, description="Calibrated probability of the target.")
    tier: str | None = Field(
        description="Name of the score's tier, also of a degraded one; null while no tiers are "
        "approved.",
    )
    model_version: str = Field(description="Of the model that scored this customer.")
    canary: bool = Field(description="Whether that was the challenger, which is being tried out.")
    as_of: datetime | None = Field(description="Newest event counted; null when there is none.")
    age_s: float | None = Field(description="Seconds from `as_of` to `send_at`.")
    placement: PlacementInfo | None = Field(description="Null when nothing is known of it.")
    degraded: Degraded | None = Field(description="Null for a full answer.")
    reasons: ReasonsInfo | None = Field(
        description="Null when none were asked for, for a score that no model computed, and while "
        "the server is too busy."
    )


class ScoreResponse(BaseModel):
    """Scores in the order of the request's customers."""

    request_id: str
    target: str
    send_at: datetime
    model: ModelInfo
    tier_policy: TierPolicyInfo | None = Field(description="Null while no tiers are approved.")
    scores: list[Score]


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457), as `application/problem+json`."""

    type: str = Field(examples=["urn:foresend:problem:unknown-target"])
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[dict[str, str]] | None = Field(
        None, description="For 422: where (`at`) and what (`message`), ten at most."
    )


class Health(BaseModel):
    """The process answers."""

    status: str = Field(examples=["ok"])


class Readiness(BaseModel):
    """Whether requests should be sent here, and why not."""

    status: str = Field(description="`ready`, `degraded` or `not_ready`.")
    reasons: list[str]
    models: dict[str, Any] = Field(description="Per target: what is served and what is wrong.")
    tiers: dict[str, Any] = Field(description="Per target: whose tiers are used, what is wrong.")
    registry: dict[str, Any]
    store: dict[str, Any]
