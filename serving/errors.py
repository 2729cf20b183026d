"""Every way a request can fail, as a problem document (RFC 9457).

* Problem
  x NotJson              400  the body cannot be read as JSON
  x BadHeader            400  a header has a value that cannot be used
  x BadKey               401  no API key, or one that is not known
  x MissingScope         403  the key may not do this
  x UnknownTarget        404  no such target is configured
  x BodyTooLarge         413  more bytes than allowed
  x NotJsonContent       415  the body is not declared as JSON
  x InvalidRequest       422  readable, but not what the schema says
  x RateLimited          429  the key asks more often than it may
  x Overloaded           429  more customers wait than this server holds
  x NoModel              503  no model was ever loaded for this target
  x KeysUnreadable       503  the key file is damaged
  x DeadlineExceeded     504  the answer would have come too late

Beside them, raised to callers inside the process:

* RegistryUnavailable    the model registry does not answer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from feature_repo.errors import ForesendError, StoreUnavailable


class RegistryUnavailable(StoreUnavailable):
    """The model registry does not answer."""


class Problem(ForesendError):
    """What is told to the caller; `detail` says what, which value and the cure."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal"
    title: ClassVar[str] = "The server made a mistake"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def document(self, request_id: str) -> dict[str, Any]:
        """The body of the answer."""
        body: dict[str, Any] = {
            "type": f"urn:foresend:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.errors:
            body["errors"] = [dict(error) for error in self.errors]
        return body


class NotJson(Problem):
    """The body cannot be read as JSON."""

    status, kind, title = 400, "not-json", "The body is not JSON"


class BadHeader(Problem):
    """A header has a value that cannot be used."""

    status, kind, title = 400, "bad-header", "A header cannot be used"


class BadKey(Problem):
    """No API key, or one that is not known."""

    status, kind, title = 401, "bad-key", "A valid API key is required"


class MissingScope(Problem):
    """The key is known but may not do this."""

    status, kind, title = 403, "missing-scope", "The API key may not do this"


class UnknownTarget(Problem):
    """No such target is configured."""

    status, kind, title = 404, "unknown-target", "No such target"


class BodyTooLarge(Problem):
    """The body has more bytes than allowed."""

    status, kind, title = 413, "body-too-large", "The body is too large"


class NotJsonContent(Problem):
    """The body is not declared as JSON."""

    status, kind, title = 415, "not-json-content", "The body must be application/json"


class InvalidRequest(Problem):
    """The body is JSON but not what the schema says."""

    status, kind, title = 422, "invalid-request", "The request is not valid"


class RateLimited(Problem):
    """The key asks more often than it may."""

    status, kind, title = 429, "rate-limited", "The API key asks too often"


class Overloaded(Problem):
    """More customers wait than this server holds."""

    status, kind, title = 429, "overloaded", "The server has too much to do"


class NoModel(Problem):
    """No model was ever loaded for this target."""

    status, kind, title = 503, "no-model", "No model is loaded for this target"


class DeadlineExceeded(Problem):
    """The answer would have come after the moment the caller waits for."""

    status, kind, title = 504, "deadline-exceeded", "The answer would come too late"


class KeysUnreadable(Problem):
    """The key file is damaged, so nobody can be let in."""

    status, kind, title = 503, "keys-unreadable", "API keys cannot be checked"


class OtherProblem(Problem):
    """What the framework itself refuses (no such path, method not allowed) or what broke."""

    def __init__(self, status: int, title: str, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail, headers=headers)
        self._status, self._title = status, title

    def document(self, request_id: str) -> dict[str, Any]:
        """The body of the answer."""
        kind = "internal" if self._status >= 500 else "http"
        body = super().document(request_id)
        return {
            **body,
            "type": f"urn:foresend:problem:{kind}",
            "status": self._status,
            "title": self._title,
        }
