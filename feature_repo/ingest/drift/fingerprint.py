"""The structure of a payload: which paths it has and of what JSON type, whatever the values.

An object with very many keys is a table and its keys are data, so they are not paths; so are keys
that look like an address or an id. This keeps values out of what is stored and logged, and keeps
the number of structures small, also when somebody wants it to be large.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

DEEPEST: Final = 12
"""Containers inside containers that are looked into."""

WIDEST: Final = 256
"""Keys of an object; one with more is a table."""

LONGEST: Final = 64
"""Elements of an array that are looked at, and characters of a key."""

MOST_PATHS: Final = 1024
"""Paths of a payload; of one with more, only the top is described."""

_MOST_SHAPES: Final = 4096
_DATA_KEY: Final = re.compile(r".*@.*|\d{4,}|[0-9a-fA-F-]{16,}", re.DOTALL)
_PLAIN_KEY: Final = re.compile(r"[^.\[\]\"\x00-\x1f\ud800-\udfff]+")

_TYPES: Final[dict[type, str]] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
    dict: "object",
    list: "array",
    tuple: "array",
}

_OBJECT: Final = object()
_ARRAY: Final = object()
_END: Final = object()
_known: Final[dict[tuple[object, ...], str]] = {}


def paths(payload: object) -> frozenset[tuple[str, str]]:
    """Each dotted path with its JSON type; `[]` stands for the elements of an array.

    >>> sorted(paths({"event": "open", "tags": ["a", "b"]}))
    [('event', 'string'), ('tags', 'array'), ('tags[]', 'string')]
    """
    found: set[tuple[str, str]] = set()
    if not _walk(payload, "", DEEPEST, found):
        found = set()
        _walk(payload, "", 1, found)
        found.add(("*", "cut"))
    return frozenset(found)


def fingerprint(payload: object) -> str:
    """Sixteen hex digits, equal for payloads with the same paths; microseconds when it is known.

    >>> fingerprint({"a": 1, "b": "x"}) == fingerprint({"b": "y", "a": 2})
    True
    """
    shape: list[object] = []
    _shape(payload, shape, DEEPEST)
    key = tuple(shape)
    known = _known.get(key)
    if known is None:
        known = fingerprint_of(paths(payload))
        if len(shape) <= MOST_PATHS:
            if len(_known) >= _MOST_SHAPES:
                _known.clear()
            _known[key] = known
    return known


def fingerprint_of(structure: frozenset[tuple[str, str]]) -> str:
    """The fingerprint of what `paths` returned."""
    lines = "\n".join(f"{path}\0{type_}" for path, type_ in sorted(structure))
    return hashlib.blake2b(lines.encode("utf-8", "replace"), digest_size=8).hexdigest()


def key_name(key: str) -> str:
    """A key as it stands in a path: data becomes `*`, and what would look like a path is quoted.

    >>> key_name("jane@example.com"), key_name("event-data"), key_name("a.b")
    ('*', 'event-data', '"a.b"')
    """
    if len(key) > LONGEST or _DATA_KEY.fullmatch(key):
        return "*"
    if _PLAIN_KEY.fullmatch(key):
        return key
    plain = "".join(c if c.isprintable() and c != '"' else "?" for c in key)
    return f'"{plain}"'


def _walk(value: object, path: str, depth: int, found: set[tuple[str, str]]) -> bool:
    """Add the paths from here on; False as soon as there are too many."""
    if path or not isinstance(value, Mapping):
        found.add((path, _TYPES.get(type(value), "other")))
    if len(found) > MOST_PATHS:
        return False
    if depth == 0:
        return True
    if isinstance(value, Mapping):
        if len(value) > WIDEST:
            found.add((f"{path}.*" if path else "*", "table"))
            return True
        prefix = f"{path}." if path else ""
        return all(
            _walk(inner, prefix + key_name(str(key)), depth - 1, found)
            for key, inner in value.items()
        )
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return all(_walk(inner, f"{path}[]", depth - 1, found) for inner in value[:LONGEST])
    return True


def _shape(value: object, out: list[object], depth: int) -> None:
    """Flatten keys and types in the order they come: equal lists have equal paths."""
    if isinstance(value, dict):
        if depth == 0 or len(value) > WIDEST:
            out.append((dict, depth == 0))
            return
        out.append(_OBJECT)
        for key, inner in value.items():
            out.append(key)
            kind = type(inner)
            if kind is dict or kind is list:
                _shape(inner, out, depth - 1)
            else:
                out.append(kind)
            if len(out) > MOST_PATHS:
                return
        out.append(_END)
    elif isinstance(value, list):
        out.append(_ARRAY)
        for inner in islice(value, LONGEST if depth else 0):
            _shape(inner, out, depth - 1)
            if len(out) > MOST_PATHS:
                return
        out.append(_END)
    else:
        out.append(type(value))
