"""Cutting long work into parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items, in order.

    >>> list(parts("abc", 2))
    [['a', 'b'], ['c']]
    """
    every = iter(items)
    while part := list(islice(every, size)):
        yield part
