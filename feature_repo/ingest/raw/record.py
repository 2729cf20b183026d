"""What the raw store keeps, and its bytes.

A segment file is a head of 16 bytes and frames. A frame:

    4 bytes   mark
    u32       bytes of the payload
    u32       CRC-32 of all that follows, and of the payload's length
    u64       offset: where in its segment the frame was first written
    u8        1: the payload is zlib-compressed
    payload   u32 bytes of meta, meta (MessagePack), body

The offset names the record for ever. In a segment as written it is the position in the file, which
also tells a frame from bytes that only look like one; after an erasure frames move up and keep
their offset, so references to them stay right.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from feature_repo.errors import ForesendError

HEAD: Final = b"FORESEND-RAW 1A\n"
"""A segment as it was written."""

REWRITTEN_HEAD: Final = b"FORESEND-RAW 1R\n"
"""A segment that an erasure has rewritten: frames may have moved."""

MARK: Final = b"\xa7\x1eFR"

FRAME: Final = struct.Struct("<4sIIQB")

_CHECKED: Final = struct.Struct("<IQB")
_META_SIZE: Final = struct.Struct("<I")
_COMPRESS_FROM: Final = 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(tuple[str, int, tuple[tuple[str, str], ...]])


class BadReference(ForesendError):
    """A reference to the raw store does not name a record that is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRecord:
    """One request as it came, content encoding undone."""

    provider: str
    received_time: datetime
    #: Lower-case names; only those that say something about the body.
    headers: tuple[tuple[str, str], ...]
    body: bytes
    #: `<segment>:<offset>`; None as long as it is not in the store.
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that was read and whose sum is right."""

    offset: int
    #: Position in the file after it.
    end: int
    #: Lowest offset that the following frame can have.
    after: int
    flags: int
    payload: bytes

    @property
    def start(self) -> int:
        """Position in the file of its first byte."""
        return self.end - FRAME.size - len(self.payload)

    def record(self, segment: str) -> RawRecord:
        """The record inside."""
        payload = zlib.decompress(self.payload) if self.flags & 1 else self.payload
        (size,) = _META_SIZE.unpack_from(payload)
        start = _META_SIZE.size + size
        provider, micros, headers = _decoder.decode(payload[_META_SIZE.size : start])
        return RawRecord(
            provider=provider,
            received_time=_EPOCH + timedelta(microseconds=micros),
            headers=headers,
            body=payload[start:],
            ref=reference(segment, self.offset),
        )


def encode(record: RawRecord) -> tuple[int, bytes]:
    """Flags and payload of a record's frame."""
    micros = (record.received_time - _EPOCH) // _MICROSECOND
    meta = _encoder.encode((record.provider, micros, record.headers))
    payload = b"".join((_META_SIZE.pack(len(meta)), meta, record.body))
    if len(payload) >= _COMPRESS_FROM:
        # Level 1: JSON of many events shrinks tenfold at 5 us per event.
        packed = zlib.compress(payload, 1)
        if len(packed) < 0.9 * len(payload):
            return 1, packed
    return 0, payload


def frame(offset: int, flags: int, payload: bytes) -> bytes:
    """The bytes of a frame."""
    return FRAME.pack(MARK, len(payload), _sum(offset, flags, payload), offset, flags) + payload


def is_intact(size: int, checksum: int, offset: int, flags: int, payload: bytes) -> bool:
    """Whether these parts of a frame belong together."""
    return size == len(payload) and checksum == _sum(offset, flags, payload)


def reference(segment: str, offset: int) -> str:
    """How a record is named everywhere.

    >>> reference("20261124T073000.000000Z-77-0a1b2c3d.seg", 16)
    '20261124T073000.000000Z-77-0a1b2c3d.seg:16'
    """
    return f"{segment}:{offset}"


def parse_reference(ref: str) -> tuple[str, int]:
    """Segment and offset of a reference; the `#index` of an event in its body is ignored.

    >>> parse_reference("a.seg:16#3")
    ('a.seg', 16)

    Raises:
        BadReference: it is none.
    """
    segment, colon, offset = ref.partition("#")[0].rpartition(":")
    if not (colon and segment.endswith(".seg") and offset.isdigit()) or "/" in segment:
        message = f"{ref!r} is no reference to the raw store; they look like `NAME.seg:16#0`."
        raise BadReference(message)
    return segment, int(offset)


def _sum(offset: int, flags: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(len(payload), offset, flags)))
