"""A payload for the eyes of people: its structure and times, without what names a person."""

from __future__ import annotations

from typing import Any, Final

from feature_repo.ingest.drift.fingerprint import key_name
from feature_repo.ingest.drift.values import value_class

_SHOWN: Final = frozenset(("nothing", "flag", "time", "epoch_s", "epoch_ms"))
_LARGEST: Final = 1e6
_DEEPEST: Final = 20


def masked(value: Any, word: str | None, depth: int = _DEEPEST) -> Any:
    """The payload with each text and long number replaced by its kind.

    Times, flags, small numbers and the event's own word stay: they are what drift is about.

    >>> masked({"event": "open", "email": "jane@example.com", "timestamp": 1534109600}, "open")
    {'event': 'open', 'email': '(address)', 'timestamp': 1534109600}
    """
    if isinstance(value, dict):
        return {key_name(k): masked(v, word, depth - 1) for k, v in value.items()} if depth else {}
    if isinstance(value, list):
        return [masked(inner, word, depth - 1) for inner in value] if depth else []
    kind = value_class(value)
    if kind in _SHOWN or (isinstance(value, str) and word and value in word.split("/")):
        return value
    if kind in {"whole", "decimal"} and abs(float(value)) < _LARGEST:
        return value
    return f"({kind})" if kind != "text" else f"(text of {len(value)})"
