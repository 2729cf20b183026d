"""Values that are where they were and are written otherwise: which cast reads them now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from feature_repo.event import check_times
from feature_repo.ingest.drift.edits import Reading
from feature_repo.ingest.webhook.casts import CASTS
from feature_repo.ingest.webhook.mapping import FIELDS
from feature_repo.ingest.webhook.misfit import Misfit
from feature_repo.ingest.webhook.times import local

READS: Final = 0.95
"""Share of values that a cast must read, to be proposed."""

_CHOICES: Final = {
    # The narrow ones first: `epoch` reads both units.
    "time": ("epoch_s", "epoch_ms", "iso", "iso_utc"),
    "number": ("number",),
    "whole": ("whole",),
    "text": ("text", "first"),
    "object": ("pairs",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retype:
    """A path that the mapping reads by a cast that does not fit any more."""

    field: str
    path: str
    old_cast: str
    new_cast: str
    #: Shares of the quarantined values that each of the two reads.
    old_share: float
    new_share: float


def find_retype(reading: Reading, values: Sequence[Any], now: datetime) -> Retype | None:
    """Another cast for the path, if the present one fails and one reads nearly all values."""
    old_share = share_read(reading.cast, reading.zone, values, now)
    if not values or old_share >= READS:
        return None
    cast = best_cast(reading.field, values, now)
    if cast is None or cast == reading.cast:
        return None
    return Retype(
        field=reading.field,
        path=reading.path,
        old_cast=reading.cast,
        new_cast=cast,
        old_share=round(old_share, 3),
        new_share=round(share_read(cast, "", values, now), 3),
    )


def best_cast(field: str, values: Sequence[Any], now: datetime) -> str | None:
    """The first cast for the field that reads nearly all values."""
    choices = _CHOICES[FIELDS[field]]
    return next((c for c in choices if share_read(c, "", values, now) >= READS), None)


def share_read(cast: str, zone: str, values: Sequence[Any], now: datetime) -> float:
    """Share of values that the cast reads; a time counts only if an event may have it."""
    if not values:
        return 0.0
    return sum(_reads(cast, zone, value, now) for value in values) / len(values)


def _reads(cast: str, zone: str, value: Any, now: datetime) -> bool:
    try:
        found = (local(zone) if cast == "local" else CASTS[cast])(value)
    except Misfit:
        return False
    if isinstance(found, datetime):
        return check_times(found, now) is None
    return found is not None
