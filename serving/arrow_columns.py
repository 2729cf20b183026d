"""Columns of Arrow made from lists and matrices without `pyarrow.array`.

That function imports pandas when it is installed: half a second and 40 MB that a server would pay
in the middle of its requests, at the first flush of its log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

TIME: Final = pa.timestamp("us", tz="UTC")


def strings(values: Sequence[str | None]) -> pa.Array:
    """Texts, null for None.

    Raises:
        UnicodeEncodeError: one cannot be written as UTF-8.

    >>> strings(["a", None, "ü"]).to_pylist()
    ['a', None, 'ü']
    """
    encoded = [b"" if value is None else value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int32)
    np.cumsum([len(one) for one in encoded], out=offsets[1:])
    is_null = np.array([value is None for value in values], dtype=np.bool_)
    return _array(pa.string(), is_null, offsets, pa.py_buffer(b"".join(encoded)))


def doubles(values: Floats, *, nan_is_null: bool = False) -> pa.Array:
    """Numbers.

    >>> doubles(np.array([1.0, float("nan")]), nan_is_null=True).to_pylist()
    [1.0, None]
    """
    is_null = np.isnan(values) if nan_is_null else np.zeros(len(values), dtype=np.bool_)
    return _array(pa.float64(), is_null, np.ascontiguousarray(values, dtype=np.float64))


def times(seconds: Floats) -> pa.Array:
    """Moments of epoch seconds, to the microsecond; null for NaN.

    >>> times(np.array([1.5, float("nan")])).cast(pa.int64()).to_pylist()
    [1500000, None]
    """
    is_null = np.isnan(seconds)
    micros = np.round(np.where(is_null, 0.0, seconds) * 1e6).astype(np.int64)
    return _array(TIME, is_null, micros)


def lists(items: pa.Array, width: int, is_null: Mask) -> pa.Array:
    """A list of `width` items per row, null where it says so; items of null rows are there too.

    >>> items = doubles(np.array([1.0, 2.0, 3.0, 4.0]))
    >>> lists(items, 2, np.array([False, True])).to_pylist()
    [[1.0, 2.0], None]
    """
    offsets = np.arange(len(is_null) + 1, dtype=np.int32) * np.int32(width)
    buffers = [_validity(is_null), pa.py_buffer(offsets)]
    kind = pa.list_(items.type)
    return pa.Array.from_buffers(kind, len(is_null), buffers, children=[items])


def _array(
    kind: pa.DataType, is_null: Mask, values: npt.NDArray[np.generic], *more: pa.Buffer
) -> pa.Array:
    buffers = [_validity(is_null), pa.py_buffer(values), *more]
    return pa.Array.from_buffers(kind, len(is_null), buffers)


def _validity(is_null: Mask) -> pa.Buffer | None:
    return pa.py_buffer(np.packbits(~is_null, bitorder="little")) if is_null.any() else None
