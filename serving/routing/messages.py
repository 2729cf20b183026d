"""Messages as bytes: requests checked, answers with identities of their own."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

import msgspec

from feature_repo.errors import ForesendError
from serving.routing.decide import Decision
from serving.routing.message import Routed, ScoreAsked
from serving.routing.scorer import Verdict
from serving.schemas import LONGEST_ID

_SPACE: Final = UUID("6f1dd0a5-6a53-5a5e-9f52-7c2b1c5b7c11")
_YEARS: Final = (2000, 2200)
_MOST_OFFSET: Final = 14 * 60
_LONGEST_REASON: Final = 300

_requests: Final = msgspec.json.Decoder(ScoreAsked)
_routed: Final = msgspec.json.Decoder(Routed)
_encoder: Final = msgspec.json.Encoder()


class BadRequest(ForesendError):
    """A message of `score.requests` that cannot be answered; the text has no personal data."""


def read_request(body: bytes, targets: Collection[str]) -> ScoreAsked:
    """The request in a message.

    Raises:
        BadRequest: it is none, or asks for what there is not.
    """
    asked = _decoded(body)
    _check_texts(asked)
    if asked.target not in targets:
        message = f"target is not one of {', '.join(sorted(targets))}"
        raise BadRequest(message)
    offset = asked.utc_offset_minutes
    if offset is not None and not -_MOST_OFFSET <= offset <= _MOST_OFFSET:
        message = f"utc_offset_minutes is not from {-_MOST_OFFSET} to {_MOST_OFFSET}"
        raise BadRequest(message)
    for name, value in (("send_at", asked.send_at), ("expires_at", asked.expires_at)):
        if value is not None:
            _check_time(name, value)
    return asked


def epoch_of(text: str) -> float:
    """Epoch seconds of an ISO 8601 time that was checked.

    >>> epoch_of("1970-01-01T00:00:01Z")
    1.0
    """
    return datetime.fromisoformat(text).timestamp()


def iso_of(when: datetime) -> str:
    """ISO 8601 in UTC.

    >>> iso_of(datetime(2026, 1, 2, tzinfo=UTC))
    '2026-01-02T00:00:00Z'
    """
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def score_id(target: str, customer_id: str, verdict: Verdict, seq: int) -> str:
    """The same for the same answer, however often it is sent."""
    parts = (
        *(target, customer_id, verdict.model_version),
        *(verdict.tier_policy, verdict.as_of, seq),
    )
    return str(uuid5(_SPACE, msgspec.json.encode(parts).decode()))


def routed(
    kind: str,
    target: str,
    customer_id: str,
    verdict: Verdict,
    decision: Decision,
    *,
    seq: int,
    now: datetime,
    valid: timedelta,
) -> Routed:
    """A message about a customer; what it answers or what was told before is filled in later."""
    return Routed(
        id=score_id(target, customer_id, verdict, seq),
        type=kind,
        time=iso_of(now),
        expires_at=iso_of(now + valid),
        target=target,
        customer_id=customer_id,
        score=verdict.score,
        tier=verdict.tier,
        model_version=verdict.model_version,
        tier_policy=verdict.tier_policy,
        degraded=verdict.degraded,
        as_of=verdict.as_of,
        action=decision.action,
        holdout=decision.holdout,
        seq=seq,
    )


def pack(message: Routed) -> bytes:
    """The message as JSON."""
    return _encoder.encode(message)


def unpack(body: bytes) -> Routed:
    """The message in JSON of ours; fields that are not known are left out.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _routed.decode(body)


def _decoded(body: bytes) -> ScoreAsked:
    try:
        return _requests.decode(body)
    except msgspec.DecodeError as exc:
        # The decoder names fields and kinds, never values, but for a field that it does not know:
        # that is the sender's own text, and may be anything.
        if "unknown field" in str(exc):
            message = f"unknown field; a request has {', '.join(ScoreAsked.__struct_fields__)}"
        else:
            message = str(exc)[:_LONGEST_REASON]
        raise BadRequest(message) from exc
    except RecursionError as exc:
        message = "nested too deeply"
        raise BadRequest(message) from exc
    except ValueError as exc:  # UnicodeDecodeError among them, which tells the bytes
        message = "JSON with text that is not UTF-8"
        raise BadRequest(message) from exc


def _check_texts(asked: ScoreAsked) -> None:
    for name in ("id", "target", "customer_id", "campaign_id", "message_id"):
        value = getattr(asked, name)
        if value is None and name in {"campaign_id", "message_id"}:
            continue
        if not value or len(value) > LONGEST_ID or not value.isprintable():
            message = f"{name} is not of 1 to {LONGEST_ID} printable characters"
            raise BadRequest(message)


def _check_time(name: str, value: str) -> None:
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None or not _YEARS[0] <= when.year <= _YEARS[1]:
        message = f"{name} is not an ISO 8601 time with a time zone, such as 2026-01-31T08:00:00Z"
        raise BadRequest(message)
