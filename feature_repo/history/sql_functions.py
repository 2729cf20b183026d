"""Functions of DuckDB that Ibis has no name for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import ibis
from ibis.expr.types import IntegerValue, StringValue, TimestampValue, Value

_INSTANT: Final = "timestamp('UTC')"


def _function(name: str, argument: str, result: str) -> Callable[[Value], Value]:
    def call(value: Value) -> None:
        """Never run: names the argument."""

    built: Callable[[Value], Value] = ibis.udf.scalar.builtin(
        call, name=name, signature=((argument,), result)
    )
    return built


epoch_us: Final[Callable[[TimestampValue], IntegerValue]] = _function("epoch_us", _INSTANT, "int64")
"""Microseconds since the Unix epoch."""

instant: Final[Callable[[IntegerValue], TimestampValue]] = _function(
    "make_timestamptz", "int64", _INSTANT
)
"""The inverse of `epoch_us`."""

md5: Final[Callable[[StringValue], StringValue]] = _function("md5", "string", "string")
"""The digest as hexadecimal digits."""
