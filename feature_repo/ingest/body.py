"""The body of a delivery: read within a limit and a time, its content encoding undone."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.types import Receive

from feature_repo.ingest.problems import BadBody, OddEncoding, TooLarge, TooSlow

ENCODINGS: Final = ("identity", "gzip", "x-gzip", "deflate")

_UNSUSPICIOUS: Final = 1_000_000
"""A body may always grow to this; only beyond it the ratio says bomb."""

_STEP: Final = 262_144
_GZIP: Final = 31
_ZLIB: Final = 15
_RAW_DEFLATE: Final = -15

CLOSE: Final = {"Connection": "close"}
"""Where the rest of the body is not read, the connection cannot be used again."""


class SenderGone(Exception):
    """The connection ended before the body did; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may be."""

    max_bytes: int
    max_expansion: int
    timeout_s: float


async def read_body(
    receive: Receive, limits: BodyLimits, *, announced: int, arrived: Callable[[int], None]
) -> bytes:
    """The body as sent. `arrived` is told how many bytes came, as they come.

    Raises:
        Refusal: it is too large or too slow.
        SenderGone: it ended early.
    """
    if announced > limits.max_bytes:
        raise _too_large(limits.max_bytes)
    try:
        async with asyncio.timeout(limits.timeout_s):
            return await _read(receive, limits.max_bytes, arrived)
    except TimeoutError as exc:
        message = f"The body was not complete after {limits.timeout_s:.0f} s. Send it again."
        raise TooSlow(message, headers=CLOSE) from exc


async def _read(receive: Receive, limit: int, arrived: Callable[[int], None]) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise SenderGone
        part: bytes = message.get("body", b"")
        size += len(part)
        arrived(len(part))
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def check_encoding(encoding: str) -> str:
    """The one content encoding of a body.

    Raises:
        OddEncoding: we cannot undo it.
    """
    name = encoding.strip().lower() or "identity"
    if name not in ENCODINGS:
        message = f"Content-Encoding must be one of {', '.join(ENCODINGS)}."
        raise OddEncoding(message, headers={**CLOSE, "Accept-Encoding": "gzip, deflate"})
    return name


def decoded(body: bytes, encoding: str, limits: BodyLimits) -> bytes:
    """The body with its content encoding undone.

    Raises:
        BadBody: it is not what the encoding says, or ends early.
        TooLarge: it grows beyond the limit.
    """
    if encoding == "identity":
        return body
    allowed = min(limits.max_bytes, max(_UNSUSPICIOUS, limits.max_expansion * len(body)))
    try:
        return _inflated(body, _window(body, encoding), allowed)
    except zlib.error as exc:
        message = f"The body is not valid {encoding}, as its Content-Encoding says."
        raise BadBody(message) from exc


def _inflated(body: bytes, window: int, allowed: int) -> bytes:
    """All members of the stream, never more than `allowed` and a step in memory."""
    parts: list[bytes] = []
    size = 0
    left = body
    while left:
        stream = zlib.decompressobj(window)
        while not stream.eof:
            part = stream.decompress(left, _STEP)
            left = stream.unconsumed_tail
            size += len(part)
            if size > allowed:
                message = f"The decompressed body has more than {allowed} bytes."
                raise TooLarge(message)
            if not part and not left and not stream.eof:
                message = "The compressed body ends early."
                raise BadBody(message)
            parts.append(part)
        left = stream.unused_data
    return b"".join(parts)


def _window(body: bytes, encoding: str) -> int:
    if encoding != "deflate":
        return _GZIP
    # By the standard deflate has zlib's two bytes in front; many senders leave them out.
    has_header = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _ZLIB if has_header else _RAW_DEFLATE


def _too_large(limit: int) -> TooLarge:
    message = f"The body has more than {limit} bytes. Send fewer events at a time."
    return TooLarge(message, headers=CLOSE)
