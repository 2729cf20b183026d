"""A webhook: messages as JSON, signed so that the receiver can tell who sent them and when.

`Foresend-Signature: t=<unix seconds>,v1=<hex>` with v1 = HMAC-SHA256(secret, "<t>.<body>"). While
a secret is replaced, there is a v1 of each; one that fits is enough.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from feature_repo.errors import StoreUnavailable
from serving.routing.connectors.errors import CallFailed
from serving.routing.connectors.http import Caller, told_apart
from serving.routing.connectors.port import DELIVERED, Outcome
from serving.routing.message import Routed

HEADER: Final = "Foresend-Signature"


class Webhook:
    """Posts batches to one address."""

    def __init__(
        self,
        caller: Caller,
        url: str,
        secrets: Sequence[str],
        most: int,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._caller = caller
        self._url = url
        self._secrets = secrets
        self._clock = clock
        self.most = most

    def deliver(self, batch: Sequence[Routed]) -> list[Outcome]:
        """One call; what is refused together is sent in halves."""
        return told_apart(batch, self._post)

    def preview(self, message: Routed) -> Mapping[str, object]:
        """The whole message."""
        return dict(msgspec.to_builtins(message))

    def check(self) -> str:
        """Post no messages at all: a receiver that works answers 2xx.

        Raises:
            StoreUnavailable: it does not answer so.
        """
        try:
            self._post([])
        except CallFailed as exc:
            message = (
                f"The webhook: {exc}. It was sent a signed body without messages, which it should "
                "answer with a status from 200 to 299."
            )
            raise StoreUnavailable(message) from exc
        return "it takes a signed body without messages"

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()

    def _post(self, batch: Sequence[Routed]) -> list[Outcome]:
        body = msgspec.json.encode({"messages": batch})
        at = int(self._clock().timestamp())
        headers = {HEADER: signature(self._secrets, body, at)}
        self._caller.call("POST", self._url, content=body, headers=headers)
        return [DELIVERED] * len(batch)


def signature(secrets: Sequence[str], body: bytes, at: int) -> str:
    """The value of the header; `at` is in epoch seconds.

    >>> signature(["secret"], b"{}", 1)[:20]
    't=1,v1=1122767b19311'
    """
    signed = f"{at}.".encode() + body
    digests = (hmac.new(one.encode(), signed, hashlib.sha256).hexdigest() for one in secrets)
    return ",".join([f"t={at}", *(f"v1={digest}" for digest in digests)])
