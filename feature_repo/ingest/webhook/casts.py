"""The casts that a mapping may name.

A cast is called with a value that is not None. It returns None for "as if it were not there" and
raises `Misfit` for what it cannot read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from feature_repo.ingest.webhook.times import epoch, epoch_ms, epoch_s, iso, iso_utc
from feature_repo.ingest.webhook.values import (
    absolute,
    before_dot,
    domain,
    first,
    lower,
    mailbox,
    number,
    pairs,
    text,
    unbracketed,
    upper,
    whole,
)

Cast = Callable[[Any], Any]

CASTS: Final[dict[str, Cast]] = {
    cast.__name__: cast
    for cast in (
        *(text, first, before_dot, unbracketed, domain, mailbox, upper, lower),
        *(number, absolute, whole),
        *(epoch_s, epoch_ms, epoch, iso, iso_utc),
        pairs,
    )
}
"""What a mapping may name."""

KINDS: Final = {
    "time": (epoch_s, epoch_ms, epoch, iso, iso_utc),
    "number": (number, absolute),
    "whole": (whole,),
    "object": (pairs,),
}
"""What a cast makes; all others make a text."""
