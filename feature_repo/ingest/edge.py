"""The way of a delivery: verify, make durable, answer. Nothing is mapped here.

Plain ASGI in front of the application, because a route of the framework costs more than all of
this; the application documents the route and answers everything else.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feature_repo.api_keys import KeyFile
from feature_repo.errors import StoreUnavailable
from feature_repo.ingest.admission import KEYED, Admission, check_key
from feature_repo.ingest.body import BodyLimits, SenderGone, check_encoding, decoded, read_body
from feature_repo.ingest.inbound import MISTAKES, Inbound
from feature_repo.ingest.metrics import Metrics
from feature_repo.ingest.problems import (
    PROBLEM_JSON,
    BadBody,
    NoSuchProvider,
    NotAllowed,
    NotAuthentic,
    Refusal,
    Unavailable,
)
from feature_repo.ingest.raw.record import RawRecord
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.errors import AuthenticationFailed, UnreadableBody

PATH: Final = "/ingest/"
REQUEST_ID: Final = "x-request-id"

UNKNOWN: Final = "unknown"
"""In metrics and logs: whatever it was, it is not repeated there."""

GONE: Final = 499
"""In metrics only: the sender went away before its body was complete."""

_ACCEPTED: Final = b'{"accepted":true}'
_BODIES: Final = {"HEAD": b"", "GET": b'{"status":"ok"}'}
_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_KEPT: Final = re.compile(r"content-type|user-agent|x-[a-z0-9-]+|[a-z0-9-]*(signature|timestamp)")
_NEVER_KEPT: Final = re.compile(r"x-(forwarded|real)-.*|x-request-id|.*(key|token|secret|auth).*")
_MOST_HEADER_BYTES: Final = 8192

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgePorts:
    """What the edge talks to."""

    inbound: Inbound
    store: RawStore
    admission: Admission
    #: None: everybody may deliver canonical events (`--insecure-local`).
    keys: KeyFile | None
    #: Told of every landed delivery; never blocks.
    landed: Callable[[RawRecord], None]
    metrics: Metrics
    clock: Callable[[], datetime]


class Edge:
    """ASGI application that answers `/ingest/...` itself and numbers what it passes on."""

    def __init__(self, app: ASGIApp, *, ports: EdgePorts, settings: IngestSettings) -> None:
        self._app = app
        self._ports = ports
        self._settings = settings
        self.admission = ports.admission
        self._limits = BodyLimits(
            settings.max_body_bytes, settings.max_expansion, settings.body_timeout_s
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; anything but HTTP is passed through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        request_id = headers.get(REQUEST_ID, "")
        if _GIVEN_ID.fullmatch(request_id) is None:
            request_id = os.urandom(16).hex()
        if scope["path"].startswith(PATH):
            await self._deliver(scope, receive, send, headers, request_id)
            return
        scope.setdefault("state", {})["request_id"] = request_id

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = (REQUEST_ID.encode(), request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), named]}
            await send(message)

        await self._app(scope, receive, answer)

    async def _deliver(
        self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str], request_id: str
    ) -> None:
        started = time.perf_counter()
        provider = self._ports.inbound.find(scope["path"][len(PATH) :]) or UNKNOWN
        try:
            status = await self._taken(scope["method"], provider, headers, receive)
        except Refusal as refusal:
            status = refusal.status
            # Under pressure there are many, and what presses is logged once.
            if status != Unavailable.status:
                log.info(
                    "delivery_refused",
                    provider=provider,
                    status=status,
                    kind=refusal.kind,
                    request_id=request_id,
                )
            body = refusal.document(request_id)
            more = {**refusal.headers, "Content-Type": PROBLEM_JSON}
            await _answer(send, status, body, more, request_id)
        except SenderGone:
            status = GONE
        else:
            body = _BODIES.get(scope["method"], _ACCEPTED)
            await _answer(send, status, body, {"Content-Type": "application/json"}, request_id)
        self._ports.metrics.answered(provider, status, time.perf_counter() - started)

    async def _taken(
        self, method: str, provider: str, headers: Mapping[str, str], receive: Receive
    ) -> int:
        """The status of a delivery that is durable now."""
        ports = self._ports
        if provider == UNKNOWN:
            known = ", ".join(sorted(ports.inbound.providers))
            message = f"The path is /ingest/PROVIDER, with one of: {known}."
            raise NoSuchProvider(message, headers={"Connection": "close"})
        if method in ("HEAD", "GET"):
            # Some providers look whether anybody is there before they accept the address.
            return 200
        if method != "POST":
            message = f"{method} is not answered here; events are delivered by POST."
            raise NotAllowed(message, headers={"Allow": "POST, HEAD, GET", "Connection": "close"})
        if provider in KEYED:
            check_key(ports.keys, headers)
        encoding = check_encoding(headers.get("content-encoding", ""))
        ports.admission.check()
        ports.admission.requests += 1
        arrived = _Arrived(ports.admission)
        try:
            announced = headers.get("content-length", "")
            body = await read_body(
                receive,
                self._limits,
                announced=int(announced) if announced.isdigit() else 0,
                arrived=arrived,
            )
            return await self._land(provider, headers, body, encoding)
        finally:
            ports.admission.requests -= 1
            ports.admission.bytes -= arrived.size
            ports.metrics.received.inc(arrived.size)

    async def _land(
        self, provider: str, headers: Mapping[str, str], body: bytes, encoding: str
    ) -> int:
        received_time = self._ports.clock()
        is_slow = (
            encoding != "identity"
            or len(body) >= self._settings.verify_in_thread_bytes
            or self._ports.inbound.waits(provider)
        )
        if is_slow:
            body = await asyncio.to_thread(self._verified, provider, headers, body, encoding)
        else:
            body = self._verified(provider, headers, body, encoding)
        record = RawRecord(
            provider=provider,
            received_time=received_time,
            headers=kept_headers(headers),
            body=body,
        )
        try:
            await self._ports.store.land(record)
        except StoreUnavailable as exc:
            self._ports.admission.pressure.landed(str(exc))
            message = "The delivery could not be made durable; nothing of it was kept."
            raise self._ports.admission.later(message) from exc
        self._ports.admission.pressure.landed(None)
        self._ports.landed(record)
        return 202 if provider in KEYED else 200

    def _verified(
        self, provider: str, headers: Mapping[str, str], body: bytes, encoding: str
    ) -> bytes:
        plain = decoded(body, encoding, self._limits)
        try:
            self._ports.inbound.verify(provider, plain, headers)
        except AuthenticationFailed as exc:
            raise NotAuthentic(str(exc)) from exc
        except UnreadableBody as exc:
            raise BadBody(str(exc)) from exc
        except StoreUnavailable as exc:
            log.warning("delivery_not_verifiable", provider=provider, problem=str(exc))
            message = "Whether the delivery is authentic cannot be told at the moment."
            raise self._ports.admission.later(message) from exc
        except MISTAKES as exc:
            # A mistake of ours. The sender keeps it and sends it again, to a version without it.
            log.error("verification_broke", provider=provider, mistake=type(exc).__name__)
            message = "The delivery could not be verified because of a mistake in this server."
            raise self._ports.admission.later(message) from exc
        return plain


class _Arrived:
    """Counts the bytes of one body, and of all."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.size = 0

    def __call__(self, size: int) -> None:
        self.size += size
        self._admission.bytes += size


def kept_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The headers that say something about the body; never a secret or who is in between.

    >>> kept_headers({"content-type": "text/plain", "authorization": "x", "x-api-key": "y"})
    (('content-type', 'text/plain'),)
    """
    kept = []
    size = 0
    for name, value in headers.items():
        if _is_kept(name):
            size += len(name) + len(value)
            if size <= _MOST_HEADER_BYTES:
                kept.append((name, value))
    return tuple(kept)


@lru_cache(maxsize=256)
def _is_kept(name: str) -> bool:
    return _KEPT.fullmatch(name) is not None and _NEVER_KEPT.fullmatch(name) is None


def _headers(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name; one that comes twice is joined, as the standard says."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


async def _answer(
    send: Send, status: int, body: bytes, headers: Mapping[str, str], request_id: str
) -> None:
    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    sent += [
        (b"content-length", str(len(body)).encode()),
        (REQUEST_ID.encode(), request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
