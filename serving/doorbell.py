"""MLflow's webhook, taken as a doorbell: somebody moved something, so look at once.

What a delivery says is not believed. MLflow does not keep their order (a delivery that was tried
again arrives seconds late), loses them after three tries, and sends none when an alias is deleted
with its version; so a verified delivery only makes every worker ask the registry now, and polls go
on. A delivery reaches one worker. It touches a file that all look at (docs/adr/0020).

    X-MLflow-Signature    v1,base64(HMAC-SHA256(secret, "{delivery id}.{timestamp}.{body}"))
    X-MLflow-Timestamp    epoch seconds of the delivery
    X-MLflow-Delivery-Id  the same for every try of a delivery
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import Counter
from pydantic import SecretStr

from serving.errors import BodyTooLarge, OtherProblem, Problem

WINDOW_S: Final = 300.0
"""How far a delivery's time may be from ours, either way."""

LARGEST_BODY: Final = 64 * 1024
_MOST_REMEMBERED: Final = 1024

log = structlog.get_logger()


class BadSignature(Problem):
    """A delivery that was not signed with our secret, or not now."""

    status, kind, title = 401, "bad-signature", "The delivery is not signed with this secret"


class Bell:
    """Rung by one worker, heard by all that look at the same file, each once for each ring."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._heard = self._touched_at()
        self._rung_here = False

    def ring(self) -> None:
        """Make every worker hear it; when the file cannot be written, this one at least."""
        self._rung_here = True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()
        except OSError as exc:
            log.warning("doorbell_not_passed_on", path=str(self._path), reason=str(exc))

    def rung(self) -> bool:
        """Whether it was rung since this was last asked."""
        touched_at = self._touched_at()
        was_rung = self._rung_here or touched_at != self._heard
        self._heard, self._rung_here = touched_at, False
        return was_rung

    def _touched_at(self) -> int:
        """In nanoseconds, 0 when it was never rung."""
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0


@dataclass
class Doorbell:
    """Checks deliveries and rings. Without a secret there is no such door."""

    bell: Bell
    secret: SecretStr | None
    clock: Callable[[], datetime]
    #: By outcome: rung, repeated, refused.
    rings: Counter
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def ring(self, headers: Mapping[str, str], body: bytes) -> None:
        """Ring for a delivery; one that came before rings no second time. Names of `headers` are
        in lower case, or it finds them in any.

        Raises:
            OtherProblem: 404, no secret is set.
            BodyTooLarge: more than 64 KiB.
            BadSignature: it is unsigned, forged, or too old or new.
        """
        if self.secret is None:
            detail = "No webhook is answered here: FORESEND_SERVING_MLFLOW_WEBHOOK_SECRET is unset."
            raise OtherProblem(404, "Not Found", detail, {})
        try:
            delivery = self._checked(self.secret.get_secret_value(), headers, body)
        except Problem as exc:
            self.rings.labels("refused").inc()
            log.warning("doorbell_refused", reason=exc.detail)
            raise
        if delivery in self._seen:
            self.rings.labels("repeated").inc()
            return
        self._seen[delivery] = None
        while len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        self.rings.labels("rung").inc()
        log.info("doorbell_rung", delivery=delivery)
        self.bell.ring()

    def _checked(self, secret: str, headers: Mapping[str, str], body: bytes) -> str:
        """The delivery's id."""
        if len(body) > LARGEST_BODY:
            message = f"A delivery has at most {LARGEST_BODY} bytes, not {len(body)}."
            raise BodyTooLarge(message)
        delivery = headers.get("x-mlflow-delivery-id", "")
        timestamp = headers.get("x-mlflow-timestamp", "")
        given = headers.get("x-mlflow-signature", "")
        if not (delivery and timestamp and given):
            message = (
                "A delivery has the headers X-MLflow-Delivery-Id, X-MLflow-Timestamp and "
                "X-MLflow-Signature. Give the webhook a secret: `foresend models webhook`."
            )
            raise BadSignature(message)
        signed = signature(secret, delivery, timestamp, body)
        if not hmac.compare_digest(signed.encode(), given.encode("utf-8", "replace")):
            message = (
                "The signature is not that of FORESEND_SERVING_MLFLOW_WEBHOOK_SECRET. Give the "
                "webhook this secret: `foresend models webhook`."
            )
            raise BadSignature(message)
        # Only now: an unsigned time says nothing. No more digits than a time has.
        seconds = int(timestamp) if timestamp.isdecimal() and len(timestamp) <= 12 else 0
        if abs(self.clock().timestamp() - seconds) > WINDOW_S:
            message = (
                f"The delivery's time {timestamp[:32]!r} is not within {WINDOW_S:.0f} s of this "
                "server's. Set both clocks by NTP."
            )
            raise BadSignature(message)
        return delivery


def signature(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """The signature MLflow sends with a delivery.

    >>> signature("s", "d", "1795468848", b"{}")
    'v1,xySpj+T/GeCtdb1JaXdFWv0Bov6HNvONE2TzMEB/3vc='
    """
    content = f"{delivery}.{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
