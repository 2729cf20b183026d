"""From a value in a payload to a text, number or object, by a declared cast; no guessing."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from feature_repo.ingest.webhook.misfit import Misfit, shown

LONGEST_TEXT: Final = 4096
"""Characters that are kept of a text; the rest is in the raw store."""

_NUMBER: Final = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?")


def text(value: Any) -> str | None:
    """A text without outer blanks; blank is None. Whole numbers become their digits.

    >>> text(" a "), text(17), text(17.0), text("")
    ('a', '17', '17', None)
    """
    if isinstance(value, str):
        return value.strip()[:LONGEST_TEXT] or None
    if type(value) is not int and type(value) is not float:
        message = f"{shown(value)} is no text"
        raise Misfit(message, "bad_text")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return str(value)


def first(value: Any) -> str | None:
    """The text, or the first one of an array of texts.

    >>> first(["promo", "x"]), first("promo"), first([])
    ('promo', 'promo', None)
    """
    if isinstance(value, list):
        return text(value[0]) if value and value[0] is not None else None
    return text(value)


def before_dot(value: Any) -> str | None:
    """The text before its first dot.

    >>> before_dot("wrfRRvF7Q0.filter0425.1")
    'wrfRRvF7Q0'
    """
    found = text(value)
    return None if found is None else found.partition(".")[0] or None


def unbracketed(value: Any) -> str | None:
    """A message id without the angle brackets some write around it.

    >>> unbracketed("<1@example.org>")
    '1@example.org'
    """
    found = text(value)
    return None if found is None else found.strip("<>") or None


def domain(value: Any) -> str | None:
    """The domain of an address, with or without a display name, in lower case.

    >>> domain("Shop <news@Mail.Example.com>"), domain("example.com")
    ('mail.example.com', 'example.com')
    """
    found = text(value)
    if found is None:
        return None
    return found.rpartition("@")[2].strip("<> ").lower() or None


def mailbox(value: Any) -> str | None:
    """An address without display name, in small letters.

    >>> mailbox("Jane <Jane@Example.com>")
    'jane@example.com'
    """
    found = text(value)
    if found is None:
        return None
    return found.rpartition("<")[2].strip("<> ").lower() or None


def upper(value: Any) -> str | None:
    """The text in capitals, as currencies are.

    >>> upper("eur")
    'EUR'
    """
    found = text(value)
    return None if found is None else found.upper()


def number(value: Any) -> float | None:
    """A number, also as text with a decimal point.

    >>> number("12.50"), number(3), number("")
    (12.5, 3.0, None)
    """
    if isinstance(value, str):
        if not value.strip():
            return None
        if _NUMBER.fullmatch(value.strip()):
            return float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < 10**300 else math.inf
    message = f"{shown(value)} is no number"
    raise Misfit(message, "bad_number")


def absolute(value: Any) -> float | None:
    """A number without its sign: some sources write what a refund gives back as negative.

    >>> absolute(-5)
    5.0
    """
    found = number(value)
    return None if found is None else abs(found)


def whole(value: Any) -> int | None:
    """A whole number.

    >>> whole("60"), whole(-120.0)
    (60, -120)
    """
    found = number(value)
    if found is not None and not found.is_integer():
        message = f"{shown(value)} is no whole number"
        raise Misfit(message, "bad_number")
    return None if found is None else int(found)


def lower(value: Any) -> str | None:
    """The text in small letters.

    >>> lower("Hard")
    'hard'
    """
    found = text(value)
    return None if found is None else found.lower()


def pairs(value: Any) -> dict[str, Any] | None:
    """An object, also as JSON in a text or as `key:value|key:value`.

    >>> pairs('{"a": "1"}'), pairs("a:1|b:2"), pairs("free text")
    ({'a': '1'}, {'a': '1', 'b': '2'}, None)
    """
    if isinstance(value, dict):
        return value
    if not isinstance(value, str):
        return None
    if value.lstrip().startswith("{"):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None
    split = (part.partition(":") for part in value.split("|") if ":" in part)
    return {key.strip(): inner.strip() for key, _, inner in split} or None
