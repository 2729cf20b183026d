"""The values in Feast's Redis hashes: ValueProto and Timestamp protocol buffers, as bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo import wire

Floats = npt.NDArray[np.float64]

MISSING_DOUBLE: Final = b"\x29" + struct.pack("<d", math.nan)
"""Stands in for a number that is not there."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DOUBLE: Final = 0x29
_FLOAT: Final = 0x35
_STRING: Final = 0x12
_VARINT_TAGS: Final = frozenset({0x18, 0x20, 0x38, 0x40})  # int32, int64, bool, timestamp
_SECONDS_TAG: Final = 0x08
_NANOS_TAG: Final = 0x10

Words = npt.NDArray[np.uint64]

_USUAL_BYTES: Final = 16
_FIVE_BYTES: Final = np.uint64(0xFF_FFFF_FFFF)
_HIGH_BITS: Final = np.uint64(0x80_8080_8080)
_CELL: Final = np.dtype([("tag", "u1"), ("value", "<f8")])


def timestamp(known_at: datetime) -> bytes:
    """The value of a view's knowledge time."""
    return micros((known_at - _EPOCH) // timedelta(microseconds=1))


@lru_cache(maxsize=4_096)
def micros(known_at_us: int) -> bytes:
    """As `timestamp`, of a time in microseconds since the Unix epoch."""
    whole, rest = divmod(known_at_us, 1_000_000)
    parts = ((_SECONDS_TAG, whole), (_NANOS_TAG, rest * 1_000))
    return b"".join(bytes([tag]) + wire.varint(value) for tag, value in parts if value)


def times(column: pa.ChunkedArray) -> wire.Column:
    """Timestamp protos: seconds and, below them, nanoseconds, each left out when zero."""
    instants = pc.cast(column, pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    whole, rest = np.divmod(instants, 1_000_000)
    data, mask = [], []
    for tag, value in ((_SECONDS_TAG, whole), (_NANOS_TAG, rest * 1000)):
        digits, shown = wire.varints(value)
        data += [np.full((len(value), 1), tag, dtype=np.uint8), digits]
        mask += [value[:, np.newaxis] != 0, shown & (value[:, np.newaxis] != 0)]
    return np.concatenate(data, axis=1), np.concatenate(mask, axis=1)


def seconds(values: Sequence[bytes | None]) -> Floats:
    """Epoch seconds of Timestamp protos, NaN where there is none."""
    rows = len(values)
    absent = np.array([value is None for value in values], dtype=np.bool_)
    usual = _usual_seconds(values, absent)
    if usual is not None:
        return usual
    # The two zero bytes end the last number and stand for a tag that is not there.
    width = max((len(value) for value in values if value is not None), default=0) + 2
    data = np.array([value or b"" for value in values], dtype=f"S{width}").view(np.uint8)
    return np.where(absent, np.nan, seconds_of(data.reshape(rows, width)))


def _usual_seconds(values: Sequence[bytes | None], absent: npt.NDArray[np.bool_]) -> Floats | None:
    """As `seconds`, for times of five bytes (1978 to 3058), which all are; None for others."""
    held = [value or b"" for value in values]
    if max(map(len, held), default=0) > _USUAL_BYTES:
        return None
    words = np.array(held, dtype=f"S{_USUAL_BYTES}").view("<u8").reshape(-1, 2)
    first: Words = words[:, 0]
    whole: Words = (first >> np.uint64(8)) & _FIVE_BYTES
    digits: Words = ((first >> np.uint64(56)) | (words[:, 1] << np.uint64(8))) & _FIVE_BYTES
    following = (first >> 48) & 0xFF
    has_nanos = following == _NANOS_TAG
    # The last byte of a number is the first one without its highest bit.
    ends = ~digits & _HIGH_BITS
    is_usual = (
        ((first & 0xFF) == _SECONDS_TAG)
        & ((whole & _HIGH_BITS) == _HIGH_BITS >> 8)
        & (has_nanos | (following == 0))
        & (ends != 0)
    )
    if not (is_usual | absent).all():
        return None
    lowest: Words = ends & (~ends + np.uint64(1))
    nanos = _compressed(digits & ((lowest << np.uint64(1)) - np.uint64(1)))
    known = _compressed(whole) + np.where(has_nanos, nanos // 1000, 0) / 1e6
    return np.where(absent, np.nan, known)


def _compressed(digits: Words) -> npt.NDArray[np.int64]:
    """The numbers of five base-128 digits each, one a byte, the lowest first."""
    number = digits & 0x7F
    for place in range(1, 5):
        number |= (digits >> place) & (0x7F << 7 * place)
    return number.astype(np.int64)


def seconds_of(data: wire.Bytes) -> Floats:
    """Epoch seconds of Timestamp protos, one a row, each with two zero bytes behind it."""
    start = (data[:, 0] == _SECONDS_TAG).astype(np.int64)
    whole, position = wire.read_varints(data, start)
    position = np.where(start > 0, position, 0)
    has_nanos = data[np.arange(len(data)), position] == _NANOS_TAG
    nanos, _ = wire.read_varints(data, position + 1)
    return np.where(start > 0, whole, 0) + np.where(has_nanos, nanos // 1000, 0) / 1e6


def second(value: bytes | None) -> float:
    """As `seconds`, of one value; quicker for a few.

    >>> second(timestamp(datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)))
    1.5
    """
    if value is None:
        return math.nan
    whole, at = _varint(value, 1) if value[:1] == b"\x08" else (0, 0)
    nanos = _varint(value, at + 1)[0] if value[at : at + 1] == b"\x10" else 0
    return whole + nanos // 1000 / 1e6


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """The base-128 number at a place, as a signed one of 64 bits, and where it ends."""
    number = shift = 0
    for byte in value[at : at + 10]:
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            break
        shift += 7
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number, at


def string(text: str | None) -> bytes:
    """The value of a text."""
    data = (text or "").encode()
    return bytes([_STRING]) + wire.varint(len(data)) + data


def text(value: bytes | None) -> str | None:
    """The text of a value, None when it holds none."""
    if value is None or len(value) < 2 or value[0] != _STRING:
        return None
    length, start = _varint(value, 1)
    if value[start - 1] >= 0x80 or len(value) != start + length:
        return None
    try:
        return value[start:].decode()
    except UnicodeDecodeError:
        return None


def numbers(values: Sequence[bytes | None], rows: int, width: int) -> Floats:
    """The numbers of `rows` customers with `width` features each; one row per feature.

    What is empty or None is missing, and so is what holds no number.
    """
    joined = b"".join([value or MISSING_DOUBLE for value in values])
    if len(joined) == rows * width * _CELL.itemsize:
        cells = np.frombuffer(joined, dtype=_CELL).reshape(rows, width)
        if (cells["tag"] == _DOUBLE).all():
            return np.array(cells["value"].T, dtype=np.float64, order="C")
    singly = [_number(value) for value in values]
    return np.ascontiguousarray(np.array(singly, dtype=np.float64).reshape(rows, width).T)


def _number(value: bytes | None) -> float:
    """Any number another Feast client may have written; what is none is missing."""
    if not value:
        return math.nan
    tag, body = value[0], value[1:]
    if tag == _DOUBLE and len(body) == 8:
        return float(struct.unpack("<d", body)[0])
    if tag == _FLOAT and len(body) == 4:
        return float(struct.unpack("<f", body)[0])
    if tag in _VARINT_TAGS and body:
        return float(_varint(value, 1)[0])
    return math.nan
