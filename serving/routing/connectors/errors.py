"""How a call of a tool can fail.

* CallFailed
  x Later      the tool cannot or will not do it now
  x Refused    the tool will never do this as it was said
"""

from __future__ import annotations


class CallFailed(Exception):
    """A call of a tool failed; the text names neither a customer nor a secret.

    `status` is the HTTP status, None when there was no answer; `after_s` is when the tool said to
    come back, if it did.
    """

    def __init__(
        self, message: str, after_s: float | None = None, *, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.after_s = after_s
        self.status = status


class Later(CallFailed):
    """Not now."""


class Refused(CallFailed):
    """Never, as it was said."""
