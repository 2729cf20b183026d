"""A version that could not be served, and when it is worth another try."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from serving.registry import Version

RETRY_AFTER: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was refused, and why."""

    version: Version
    at: datetime
    reason: str

    def is_over(self, now: datetime) -> bool:
        """Whether it may be tried again."""
        return now - self.at >= RETRY_AFTER
