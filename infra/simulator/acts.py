"""What happened, as columns of numbers: every step of the simulation makes and passes these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feature_repo.event import EventType, Machine

Acts = dict[str, NDArray[np.generic]]
"""Columns of equal length; those of FIELDS, all of them."""

FIELDS: Final[Mapping[str, tuple[type[np.generic], int]]] = {
    "kind": (np.int8, 0),  # position in KINDS
    "customer": (np.int64, 0),
    "campaign": (np.int64, -1),  # number of the campaign, -1: no message
    "topic": (np.int8, 0),
    "at": (np.int64, 0),  # microseconds since the Unix epoch
    "agent": (np.int64, -1),  # position in agents.AGENTS
    "host": (np.int64, -1),  # position in agents.addresses()
    "link": (np.int64, -1),
    "micros": (np.int64, -1),  # amount
    "wrong_micros": (np.int64, -1),  # amount as it was said first, where it was put right later
    "reason": (np.int8, 0),  # position in REASONS
    "maker": (np.int8, 0),  # position in MAKERS
    "placement": (np.int8, 0),  # position in PLACEMENTS
    "inbox_p": (np.float64, -1),
    "click_p": (np.float64, -1),
    "interest": (np.float64, 0),
    "honeypot": (np.bool_, 0),
}
"""Column: its type, and its value where a step says nothing."""

KINDS: Final = tuple(EventType)
KIND: Final = {kind: position for position, kind in enumerate(KINDS)}

MAKERS: Final = (*(machine.value for machine in Machine), "system")
"""Who made the event: a machine, `none` for a person, `system` for mail servers and shops."""

PERSON: Final = MAKERS.index(Machine.NONE.value)
SYSTEM: Final = MAKERS.index("system")
MAKER: Final = {machine: MAKERS.index(machine.value) for machine in Machine}

PLACEMENTS: Final = (None, "inbox", "spam")
INBOX: Final = 1
SPAM: Final = 2

REASONS: Final = (
    (None, None, None),
    ("hard", "550", "5.1.1 the mailbox does not exist"),
    ("soft", "452", "4.2.2 the mailbox is full"),
    ("soft", "421", "4.7.0 try again later"),
    (None, None, "the address is suppressed"),
    (None, None, "unsubscribed by the link in the message"),
    (None, None, "unsubscribed by the list header"),
)
"""bounce_class, smtp_code, reason."""

HARD, FULL, LATER, SUPPRESSED, BY_LINK, BY_HEADER = range(1, len(REASONS))


def acts(kind: EventType, size: int, **columns: object) -> Acts:
    """A block of one kind; columns not given have their default.

    >>> acts(EventType.SENT, 2, customer=[7, 8])["customer"].tolist()
    [7, 8]
    """
    given = columns | {"kind": KIND[kind]}
    columns = {name: given.get(name, default) for name, (_, default) in FIELDS.items()}
    return {
        name: value.astype(FIELDS[name][0])
        if isinstance(value, np.ndarray)
        else np.full(size, value, dtype=FIELDS[name][0])
        for name, value in columns.items()
    }


def joined(blocks: Sequence[Acts]) -> Acts:
    """All blocks in one."""
    if not blocks:
        return acts(EventType.SENT, 0)
    return {name: np.concatenate([block[name] for block in blocks]) for name in FIELDS}


def size(block: Acts) -> int:
    """Number of acts."""
    return len(block["kind"])
