"""Sums of decayed terms as exact integers: the same bits in whatever order terms came.

A counter of half-life h is `S = sum of w * 2^(t/h)`. Added up as floats, S depends on the order of
its terms in the last digits. Here each `2^(t/h)` is rounded once, to 53 significant bits, and from
then on only integers are added: a sum is `(mantissa, exponent)`, which stands for
`mantissa * 2^exponent`. Weights are integers too, money in millionths.
"""

from __future__ import annotations

import math
from typing import Final

Sum = tuple[int, int]
"""Mantissa and exponent; zero is `(0, 0)`."""

ZERO: Final[Sum] = (0, 0)

_DAY_US: Final = 86_400_000_000
_TERM_BITS: Final = 52
_TERM_SCALE: Final = 2.0**_TERM_BITS
_READ_BITS: Final = 64
_READ_SCALE: Final = 2.0**-_READ_BITS


def power(time_us: int, period_us: int) -> Sum:
    """`2^(t/h)` for a time since the Unix epoch and a half-life in microseconds, rounded.

    >>> power(3 * period(7), period(7)) == (2**52, 3 - 52)
    True
    """
    whole, rest = divmod(time_us, period_us)
    return int(math.exp2(rest / period_us) * _TERM_SCALE), whole - _TERM_BITS


def period(half_life_days: int) -> int:
    """A half-life in microseconds."""
    return half_life_days * _DAY_US


def add(one: Sum, other: Sum) -> Sum:
    """Both together, exactly; not canonical.

    >>> add((3, 0), (1, -1))
    (7, -1)
    """
    mantissa, exponent = one
    if not mantissa:
        return other
    added, lowest = other
    shift = exponent - lowest
    if shift >= 0:
        return (mantissa << shift) + added, lowest
    return mantissa + (added << -shift), exponent


def canonical(value: Sum) -> Sum:
    """The one way to write a sum: an odd mantissa, or zero.

    >>> canonical((12, -2)), canonical((0, 7))
    ((3, 0), (0, 0))
    """
    mantissa, exponent = value
    if not mantissa:
        return ZERO
    zeros = (mantissa & -mantissa).bit_length() - 1
    return mantissa >> zeros, exponent + zeros


def log2(value: Sum, unit: int = 1) -> float:
    """`log2` of a sum in units of `unit`, equal for equal sums; -inf of zero.

    >>> log2((5, 3)) == math.log2(40)
    True
    """
    mantissa, exponent = value
    if not mantissa:
        return -math.inf
    above = mantissa.bit_length() - _READ_BITS
    read = mantissa >> above if above > 0 else mantissa << -above
    return exponent + above + _READ_BITS + math.log2(read * _READ_SCALE / unit)


def from_log2(value: float, unit: int = 1) -> Sum:
    """A sum whose `log2` is `value` but for its last digits; zero of -inf and NaN.

    >>> canonical(from_log2(3.0)), from_log2(-math.inf)
    ((1, 3), (0, 0))
    """
    if not math.isfinite(value):
        return ZERO
    whole = math.floor(value)
    mantissa = int(math.exp2(value - whole) * _TERM_SCALE)
    return mantissa * unit, whole - _TERM_BITS


def pack(mantissa: int) -> bytes:
    """A mantissa as bytes, as few as it takes."""
    return mantissa.to_bytes((mantissa.bit_length() + 7) // 8, "big")


def unpack(data: bytes) -> int:
    """The inverse of `pack`.

    >>> unpack(pack(0)), unpack(pack(2**70 + 1)) == 2**70 + 1
    (0, True)
    """
    return int.from_bytes(data, "big")
