"""Read JSON as foreign systems write it, without letting one bad event cost the others.

What the JSON standard forbids and senders do anyway is mended: NaN becomes a number that no
amount accepts, half a surrogate pair and broken UTF-8 become U+FFFD. The untouched bytes are in
the raw store. An element of an array that is nested too deep to be read stands as `Unreadable`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from feature_repo.ingest.webhook.errors import UnreadableBody

_LONGEST_WHOLE: Final = 300
"""Digits of a number that is still read exactly; Python refuses to print above 4300."""

_DEEPEST: Final = 10_000
"""Brackets that are counted; a body of nothing but brackets must not keep us busy."""

_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An element that is JSON by its brackets but cannot be read."""

    source: bytes


def read_json(body: bytes) -> Any:
    """The content of a body.

    Raises:
        UnreadableBody: it is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _read_anyway(body)


def _read_anyway(body: bytes) -> Any:
    try:
        return _mended(body)
    except ValueError as exc:
        place = f" at character {exc.pos}" if isinstance(exc, json.JSONDecodeError) else ""
        message = f"The body is not JSON{place}."
        raise UnreadableBody(message) from exc
    except RecursionError:
        return [_element(source) for source in _elements(body)]


def _element(source: bytes) -> Any:
    try:
        return _mended(source)
    except (ValueError, RecursionError):
        return Unreadable(source)


def _mended(body: bytes) -> Any:
    text = body.decode("utf-8-sig", "replace")
    return _clean(json.loads(text, parse_int=_whole))


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_WHOLE else float(digits)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(inner) for key, inner in value.items()}
    return value


def _elements(body: bytes) -> Iterator[bytes]:
    """The elements of the array a body is, found by its brackets.

    Raises:
        UnreadableBody: it is no array, or its brackets do not pair.
    """
    depth, start = 0, -1
    for token in _TOKENS.finditer(body):
        mark = token[0]
        if mark in b"[{" and depth == 0:
            if mark == b"{":
                break
            start = token.end()
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        if start >= 0 and ((mark == b"," and depth == 1) or depth == 0):
            if body[start : token.start()].strip():
                yield body[start : token.start()]
            start = token.end()
        if not 0 < depth <= _DEEPEST:
            break
    else:
        depth = -1
    if depth != 0 or start < 0:
        message = "The body is nested too deep to be read."
        raise UnreadableBody(message)


def as_json(value: Any) -> bytes:
    """A parsed value as JSON again; `null` when it is nested too deep to be written."""
    if isinstance(value, Unreadable):
        return value.source
    try:
        return orjson.dumps(value)
    except TypeError:  # orjson's error is one
        return _written_anyway(value)


def _written_anyway(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except (RecursionError, ValueError):
        return b"null"
