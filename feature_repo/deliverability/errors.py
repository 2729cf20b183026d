"""How a source of readings can fail.

* StoreUnavailable
  x SourceUnavailable    it does not answer, or told us to wait
* ConfigError
  x SourceRefused        it answers, and will not with these credentials
"""

from __future__ import annotations

from datetime import datetime

from feature_repo.errors import ConfigError, StoreUnavailable


class SourceUnavailable(StoreUnavailable):
    """A source does not answer; `retry_at` is when it said it would, if it did."""

    def __init__(self, message: str, retry_at: datetime | None = None) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class SourceRefused(ConfigError):
    """A source will not answer with these credentials; `status` is its HTTP status."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
