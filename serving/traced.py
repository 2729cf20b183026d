"""Where traces look at the work; without them, nothing happens there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from serving.asks import Ask

Part = Callable[[str, Sequence[Ask]], AbstractContextManager[object]]
"""Around a named part of the work for some requests."""

_NOTHING: Final[AbstractContextManager[object]] = nullcontext()


def untraced(_: str, __: Sequence[Ask]) -> AbstractContextManager[object]:
    """Around a part of the work that nobody traces."""
    return _NOTHING
