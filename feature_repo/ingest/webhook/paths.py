"""Dotted paths into a payload, compiled to functions.

`message.headers.message-id` goes down by keys, a number is a place in an array, and `.` is the
payload itself. What is missing anywhere on the way is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Getter = Callable[[Mapping[str, Any]], Any]
"""Gets a value out of an item; None when it is not there."""


def getter(path: str) -> Getter:
    """The function that goes a path.

    >>> getter("a.b")({"a": {"b": 1}}), getter("a.0")({"a": ["x"]}), getter("a.b")({"a": 2})
    (1, 'x', None)
    """
    if path == ".":
        return _itself
    parts = path.split(".")
    if len(parts) == 1:
        return _one_step(path)
    return _steps(tuple(int(part) if part.isdecimal() else part for part in parts))


def dig(value: Any, *steps: str | int) -> Any:
    """The value at the end of the steps, None when there is none.

    >>> dig({"a": [{"b": 1}]}, "a", 0, "b")
    1
    """
    for step in steps:
        if isinstance(value, dict):
            value = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step] if step < len(value) else None
        else:
            return None
    return value


def word_of(value: Any) -> str | None:
    """A value if it can be a word: a text that is not blank and not a book.

    >>> word_of("open"), word_of(""), word_of(3)
    ('open', None, None)
    """
    return value if isinstance(value, str) and 0 < len(value) <= 200 else None


def _itself(item: Mapping[str, Any]) -> Any:
    return item


def _one_step(key: str) -> Getter:
    def get(item: Mapping[str, Any]) -> Any:
        return item.get(key)

    return get


def _steps(steps: tuple[str | int, ...]) -> Getter:
    def get(item: Mapping[str, Any]) -> Any:
        return dig(item, *steps)

    return get
