"""What an answer says of the customer's inbox: a state of the mail, not of the customer.

A ghost is a customer whose last mails most likely did not reach the inbox. Their silence is no
sign of disinterest, so the cure is to repair the delivery of their mail, never to stop mailing
them: `repair` is another outcome than `sunset`, which is for people who saw mail and did not care.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

GHOST: Final = 0.5
"""From this mean chance of having missed the inbox, over the last five mails, one is a ghost."""


class Remedy(StrEnum):
    """What is to be done about the placement of a customer's mail."""

    REPAIR = "repair"  #: route to the deliverability segment; silence says nothing meanwhile


def is_ghost(ghost: float) -> bool:
    """Whether the last mails most likely missed the inbox; False where nothing is known.

    >>> is_ghost(0.5), is_ghost(0.49), is_ghost(float("nan"))
    (True, False, False)
    """
    return ghost >= GHOST


def remedy_of(ghost: float) -> Remedy | None:
    """What to do about a customer's placement, None for nothing.

    >>> remedy_of(0.9)
    <Remedy.REPAIR: 'repair'>
    """
    return Remedy.REPAIR if is_ghost(ghost) else None
