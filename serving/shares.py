"""Fixed shares of customers, by hash: who is in one stays in it, everywhere and for ever."""

from __future__ import annotations

from typing import Final

import mmh3

_SPAN: Final = float(1 << 32)


def place(customer_id: str, salt: str) -> float:
    """Where a customer stands in [0, 1), evenly and independently for each salt.

    >>> place("ann", "canary") == place("ann", "canary") != place("ann", "holdout")
    True
    """
    return mmh3.hash(f"{salt}:{customer_id}", signed=False) / _SPAN


def in_share(customer_id: str, salt: str, share: float) -> bool:
    """Whether a customer is among the share of all customers that a salt chooses.

    A greater share contains every smaller one.

    >>> in_share("ann", "canary", 0.0), in_share("ann", "canary", 1.0)
    (False, True)
    """
    return place(customer_id, salt) < share
