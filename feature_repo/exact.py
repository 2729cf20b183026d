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
_READ_BITS: Final = 64


def power(time_us: int, half_life_days: int) -> Sum:
    """`2^(t/h)` for a time in microseconds since the Unix epoch, rounded.

    >>> power(7 * 86_400_000_000, 7) == (2**52, -51)
    True
    """
    period = half_life_days * _DAY_US
    whole, rest = divmod(time_us, period)
    return int(math.ldexp(math.exp2(rest / period), _TERM_BITS)), whole - _TERM_BITS


def add(one: Sum, other: Sum) -> Sum:
    """Both together, exactly; not canonical.

    >>> add((3, 0), (1, -1))
    (7, -1)
    """
    if not one[0]:
        return other
    if not other[0]:
        return one
    shift = one[1] - other[1]
    if shift >= 0:
        return (one[0] << shift) + other[0], other[1]
    return one[0] + (other[0] << -shift), one[1]


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
    bits = mantissa.bit_length()
    above = bits - _READ_BITS
    read = mantissa >> above if above > 0 else mantissa << -above
    return exponent + bits + math.log2(math.ldexp(read, -_READ_BITS) / unit)


def from_log2(value: float, unit: int = 1) -> Sum:
    """A sum whose `log2` is `value` but for its last digits; zero of -inf and NaN.

    >>> canonical(from_log2(3.0)), from_log2(-math.inf)
    ((1, 3), (0, 0))
    """
    if not math.isfinite(value):
        return ZERO
    whole = math.floor(value)
    mantissa = int(math.ldexp(math.exp2(value - whole), _TERM_BITS))
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
