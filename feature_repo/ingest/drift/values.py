"""What kind of values a path holds, and how alike two paths are by their values.

Values are looked at in memory while a person waits for a suggestion; nothing of them is kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from scipy.stats import ks_2samp

_CLASSES: Final = (
    ("address", re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")),
    ("url", re.compile(r"https?://\S+", re.IGNORECASE)),
    ("ip", re.compile(r"\d{1,3}(\.\d{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:]+:[0-9a-fA-F:.]*")),
    ("uuid", re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")),
    ("digits", re.compile(r"\d{11,}")),
    ("word", re.compile(r"[A-Za-z_][A-Za-z_-]{0,23}")),
    ("token", re.compile(r"[\w.:+/=<>@-]{8,}")),
)
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*")
_NUMBER: Final = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?")
_EPOCH_S: Final = (946_684_800, 4_102_444_800)
"""Seconds from the year 2000 to the year 2100."""

_TIMES: Final = frozenset(("time", "epoch_s", "epoch_ms"))
_TIMES_OF_A_KIND: Final = 0.85
"""How alike two ways to write a time are: the same thing, to be read by another cast."""

_RECURS: Final = 0.2


def value_class(value: Any) -> str:
    """The kind of a value, as far as it shows.

    >>> value_class("jane@example.com"), value_class(1534109600), value_class("2024-03-04T10:00Z")
    ('address', 'epoch_s', 'time')
    """
    if value is None or value == "":
        return "nothing"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return _number_class(float(value) if abs(value) < 1e300 else 1e300)
    if not isinstance(value, str):
        return "structure"
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return _number_class(float(text))
    if _ISO.fullmatch(text):
        return "time" if _is_time(text) else "text"
    return next((name for name, shape in _CLASSES if shape.fullmatch(text)), "text")


def value_similarity(old: Sequence[Any], new: Sequence[Any]) -> float:
    """How likely the new values are those of the old path, from 0 to 1.

    The kind decides; how often values recur, how many distinct ones there are, and how numbers
    and lengths are distributed make the rest.
    """
    if not old or not new:
        return 0.0
    kinds = _class_similarity(old, new)
    signs = [_recurrence_similarity(old, new), _cardinality_similarity(old, new)]
    spread = _spread_similarity(old, new)
    if spread is not None:
        signs.append(spread)
    return kinds * (0.4 + 0.6 * sum(signs) / len(signs))


def _number_class(value: float) -> str:
    if _EPOCH_S[0] <= value <= _EPOCH_S[1]:
        return "epoch_s"
    if _EPOCH_S[0] <= value / 1000 <= _EPOCH_S[1]:
        return "epoch_ms"
    return "whole" if value.is_integer() else "decimal"


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(re.sub(r" (?=[+-]\d\d:?\d\d$)", "", text))
    except ValueError:
        return False
    return True


def _class_similarity(old: Sequence[Any], new: Sequence[Any]) -> float:
    """Share of values of the same kind; two ways to write a time are nearly the same."""
    before, after = _shares(old), _shares(new)
    shared = {name: min(before[name], after[name]) for name in before.keys() & after.keys()}
    same = sum(shared.values())
    left = [
        sum(part[name] - shared.get(name, 0.0) for name in part.keys() & _TIMES)
        for part in (before, after)
    ]
    return min(1.0, same + _TIMES_OF_A_KIND * min(left))


def _shares(values: Sequence[Any]) -> dict[str, float]:
    counts = Counter(value_class(value) for value in values)
    return {name: count / len(values) for name, count in counts.items()}


def _recurrence_similarity(old: Sequence[Any], new: Sequence[Any]) -> float:
    """Do new values occur in the old ones as often as old values recur among themselves?"""
    half = len(old) // 2
    if half < 5:
        return 0.5
    first, second = {_key(v) for v in old[:half]}, {_key(v) for v in old[half:]}
    expected = len(first & second) / len(second)
    everything = first | second
    fresh = {_key(v) for v in new}
    found = len(fresh & everything) / len(fresh)
    # More than expected is no sign against it: the old ones are twice as many now.
    return 1.0 if expected < _RECURS and found < _RECURS else min(1.0, found / max(expected, 0.01))


def _cardinality_similarity(old: Sequence[Any], new: Sequence[Any]) -> float:
    size = min(len(old), len(new))
    before, after = (len({_key(v) for v in values[:size]}) for values in (old, new))
    return min(before, after) / max(before, after)


def _spread_similarity(old: Sequence[Any], new: Sequence[Any]) -> float | None:
    """By Kolmogorov and Smirnov; None where it says nothing, as of times that move on."""
    before, after = _measures(old), _measures(new)
    if min(len(before), len(after)) < 5:
        return None
    return 1.0 - float(ks_2samp(before, after).statistic)


def _measures(values: Sequence[Any]) -> list[float]:
    """Numbers as they are, texts by their length."""
    found = []
    for value in values:
        kind = value_class(value)
        if kind in {"whole", "decimal"}:
            found.append(float(value))
        elif kind not in _TIMES and isinstance(value, str):
            found.append(float(len(value)))
    return found


def _key(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
