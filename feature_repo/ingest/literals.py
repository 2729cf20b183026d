"""Names and values as SQL text. Everything a user's file or mapping says passes through here."""

from __future__ import annotations

from datetime import datetime


def text(value: str) -> str:
    """A string literal.

    >>> text("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"


def instant(value: datetime) -> str:
    """A TIMESTAMPTZ literal."""
    return f"TIMESTAMPTZ {text(value.isoformat())}"
