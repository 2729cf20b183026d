"""From the bytes of a body to what is asked for: fast when it is valid, with reasons when not.

A valid body is decoded in one step, several times faster than by the pydantic models of
serving/schemas.py. Those document the route, and read each body that this step does not accept:
what is wrong is told in their words. A contract test holds the two to the same bodies.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Final

import msgspec

from serving.asks import Ask, AskedCustomer
from serving.parsing import parse_score_request
from serving.schemas import (
    FARTHEST_MINUTES,
    LONGEST_ID,
    LONGEST_TARGET,
    MAX_CUSTOMERS,
    MOST_REASONS,
    Customer,
    moment_of,
)

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ID)]
_Text = Annotated[str, msgspec.Meta(max_length=LONGEST_ID)]
_Offset = Annotated[int, msgspec.Meta(ge=-FARTHEST_MINUTES, le=FARTHEST_MINUTES)]


class _Customer(AskedCustomer, frozen=True, forbid_unknown_fields=True, gc=False):
    customer_id: _Id
    utc_offset_minutes: _Offset | None = None
    campaign_id: _Text | None = None
    message_id: _Text | None = None


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    target: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TARGET)]
    customers: Annotated[list[_Customer], msgspec.Meta(min_length=1, max_length=MAX_CUSTOMERS)]
    send_at: str | None = None
    reasons: Annotated[int, msgspec.Meta(ge=0, le=MOST_REASONS)] = 0


_DECODER: Final = msgspec.json.Decoder(_Body)


def read_ask(body: bytes, *, request_id: str = "", deadline: float | None = None) -> Ask:
    """What a body asks for.

    Raises:
        NotJson: it is not JSON.
        InvalidRequest: it is, but not as the schema says.
    """
    try:
        read = _DECODER.decode(body)
        send_at = None if read.send_at is None else _epoch_s(read.send_at)
    except (msgspec.DecodeError, ValueError):
        return _read_slowly(body, request_id, deadline)
    return Ask(
        target=read.target,
        customers=read.customers,
        send_at=send_at,
        reasons=read.reasons,
        deadline=deadline,
        request_id=request_id,
    )


@lru_cache(maxsize=1024)
def _epoch_s(text: str) -> float:
    # A campaign asks for one moment many thousand times.
    return moment_of(text).timestamp()


def _read_slowly(body: bytes, request_id: str, deadline: float | None) -> Ask:
    """The same by the models of the documentation, which say what is wrong."""
    asked = parse_score_request(body)
    return Ask(
        target=asked.target,
        customers=[_asked(customer) for customer in asked.customers],
        send_at=None if asked.send_at is None else asked.send_at.timestamp(),
        reasons=asked.reasons,
        deadline=deadline,
        request_id=request_id,
    )


def _asked(customer: Customer) -> AskedCustomer:
    return AskedCustomer(
        customer.customer_id,
        customer.utc_offset_minutes,
        customer.campaign_id,
        customer.message_id,
    )
