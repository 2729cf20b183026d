"""Every way a delivery can be refused, as a problem document (RFC 9457).

* Refusal
  x BadBody              400  nobody can ever read the body
  x NotAuthentic         401  no valid signature, secret or key
  x MissingScope         403  the key may not ingest
  x NoSuchProvider       404  no provider of this name
  x NotAllowed           405  events are delivered by POST
  x TooSlow              408  the body did not come in time
  x TooLarge             413  more bytes than allowed, as sent or decompressed
  x OddEncoding          415  compressed in a way that is not understood
  x Unavailable          503  it cannot be made durable now; send it again

What a sender does with a status decides these numbers: it gives up on most of 4xx, and sends again
after a 503.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import orjson

from feature_repo.errors import ForesendError

PROBLEM_JSON: Final = "application/problem+json"


class Refusal(ForesendError):
    """What is told to the sender; `detail` says what, which value and the cure."""

    status: ClassVar[int] = 503
    kind: ClassVar[str] = "unavailable"
    title: ClassVar[str] = "The delivery cannot be taken now"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})

    def document(self, request_id: str) -> bytes:
        """The body of the answer."""
        return orjson.dumps(
            {
                "type": f"urn:foresend:problem:{self.kind}",
                "title": self.title,
                "status": self.status,
                "detail": self.detail,
                "request_id": request_id,
            }
        )


class BadBody(Refusal):
    """Nobody can ever read the body."""

    status, kind, title = 400, "unreadable-body", "The body cannot be read"


class NotAuthentic(Refusal):
    """No valid signature, secret or key."""

    status, kind, title = 401, "not-authentic", "The delivery is not authentic"


class MissingScope(Refusal):
    """The key may not ingest."""

    status, kind, title = 403, "missing-scope", "The API key may not do this"


class NoSuchProvider(Refusal):
    """No provider of this name."""

    status, kind, title = 404, "unknown-provider", "No such provider"


class NotAllowed(Refusal):
    """Events are delivered by POST."""

    status, kind, title = 405, "method-not-allowed", "Events are delivered by POST"


class TooSlow(Refusal):
    """The body did not come in time."""

    status, kind, title = 408, "body-too-slow", "The body did not come in time"


class TooLarge(Refusal):
    """More bytes than allowed, as sent or decompressed."""

    status, kind, title = 413, "body-too-large", "The body is too large"


class OddEncoding(Refusal):
    """Compressed in a way that is not understood."""

    status, kind, title = 415, "unsupported-encoding", "The Content-Encoding is not supported"


class Unavailable(Refusal):
    """It cannot be made durable now; sending it again is right."""
