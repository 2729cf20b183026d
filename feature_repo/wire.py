"""RESP commands for many rows at once: columns of bytes, some of varying length, to one buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
#: Bytes of each row, and which of them count.
Column = tuple[Bytes, Mask]

_VARINT_BYTES: Final = 10
_END: Final = b"\r\n"


def bulk(value: bytes) -> bytes:
    """A bulk string: an argument of a command."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def constant(value: bytes, rows: int) -> Column:
    """The same bytes in every row."""
    data = np.broadcast_to(np.frombuffer(value, dtype=np.uint8), (rows, len(value)))
    return data, np.ones(data.shape, dtype=np.bool_)


def ragged(values: Sequence[bytes]) -> Column:
    """Different bytes in every row."""
    lengths = np.array([len(value) for value in values], dtype=np.int64)
    width = max(int(lengths.max(initial=0)), 1)
    data = np.array(values, dtype=f"S{width}").view(np.uint8).reshape(len(values), width)
    return data, np.arange(width) < lengths[:, np.newaxis]


def bulks(body: Column) -> tuple[Column, ...]:
    """Each row's bytes, of up to 99, as a bulk string."""
    data, mask = body
    rows = len(data)
    lengths = mask.sum(axis=1)
    digits = np.stack([lengths // 10, lengths % 10], axis=1).astype(np.uint8) + ord("0")
    shown = np.stack([lengths >= 10, np.ones(rows, dtype=np.bool_)], axis=1)
    return (
        constant(b"$", rows),
        (digits, shown),
        constant(_END, rows),
        body,
        constant(_END, rows),
    )


def varints(values: npt.NDArray[np.int64]) -> Column:
    """Base-128 numbers as protocol buffers write them; negative ones take ten bytes."""
    left = values.astype(np.uint64)[:, np.newaxis] >> (
        np.arange(_VARINT_BYTES, dtype=np.uint64) * np.uint64(7)
    )
    more = np.zeros(left.shape, dtype=np.uint8)
    more[:, :-1] = (left[:, 1:] > 0) * np.uint8(0x80)
    mask = left > 0
    mask[:, 0] = True
    return (left & np.uint64(0x7F)).astype(np.uint8) | more, mask


def varint(value: int) -> bytes:
    """One base-128 number.

    >>> varint(300).hex()
    'ac02'
    """
    left = value & (2**64 - 1)
    data = bytearray()
    while left > 0x7F:
        data.append(left & 0x7F | 0x80)
        left >>= 7
    data.append(left)
    return bytes(data)


def read_varints(
    data: Bytes, start: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The number at `start` of each row, and where it ends. Rows must be padded with a zero."""
    rows = np.arange(len(data))
    value = np.zeros(len(data), dtype=np.uint64)
    position = start.copy()
    active = np.ones(len(data), dtype=np.bool_)
    for step in range(_VARINT_BYTES):
        byte = data[rows, np.minimum(position, data.shape[1] - 1)]
        part = (byte & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * step)
        value |= np.where(active, part, np.uint64(0))
        position += active
        active &= byte >= 0x80
        if not active.any():
            break
    return value.astype(np.int64), position


def join(columns: Sequence[Column]) -> bytes:
    """Row after row, the bytes that count."""
    data = np.concatenate([column for column, _ in columns], axis=1)
    mask = np.concatenate([column for _, column in columns], axis=1)
    joined: bytes = data[mask].tobytes()
    return joined
