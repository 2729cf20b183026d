"""Why one event does not fit its mapping."""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 60


class Misfit(Exception):
    """A value is missing or not what the mapping says. Caught per event, never shown to a user."""

    def __init__(self, detail: str, reason: str, path: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.path = path


def shown(value: object) -> str:
    """A value as it may stand in a sentence: short, and never what could hold an address.

    >>> shown("abc"), shown("jane@example.com"), shown({"a": 1})
    ("'abc'", 'a text with an address', 'an object')
    """
    if isinstance(value, str):
        if "@" in value or "%40" in value:
            return "a text with an address"
        return repr(value if len(value) <= _LONGEST else value[:_LONGEST] + "...")
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= 10**_LONGEST:
        return f"a number of more than {_LONGEST} digits"
    return str(value)
