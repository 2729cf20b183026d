"""Whom an erasure is about: the customer's id, and the addresses the raw store knows him by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote_plus

from feature_repo.ingest.webhook.customers import stand_in

ERASED: Final = "(erased)"
"""What stands in a text in the place of an address that was erased."""

_ADDRESS: Final = re.compile(rb"[\w.+-]{1,64}(?:@|%40|\\u0040)[\w-]{1,63}(?:\.[\w-]{1,63})+")
_SHORTEST_WORD: Final = 6
_SHORTEST_NUMBER: Final = 9
# A character beside it makes it another id or address; a full stop or colon only before more.
_NOT_BEFORE: Final = r"(?<![\w@+-])(?<!\w[.:])"
_NOT_AFTER: Final = r"(?![\w@+-]|[.:]\w)"


@dataclass(frozen=True)
class Person:
    """Someone to be forgotten."""

    customer_id: str
    #: In lower case.
    addresses: frozenset[str] = field(default_factory=frozenset)

    def known_by(self, addresses: Iterable[str]) -> Person:
        """The same person with further addresses."""
        lower = {address.strip().lower() for address in addresses}
        return replace(self, addresses=self.addresses | lower)

    @cached_property
    def ids(self) -> frozenset[str]:
        """The id, and the stand-ins that events with an address only were given."""
        return frozenset((self.customer_id, *map(stand_in, self.addresses)))

    @cached_property
    def is_distinct(self) -> bool:
        """Whether the id, wherever it stands, can be nothing else.

        `17850` may be a price or a place; such an id counts only where an id belongs.
        """
        shortest = _SHORTEST_NUMBER if self.customer_id.isdecimal() else _SHORTEST_WORD
        return len(self.customer_id) >= shortest

    @cached_property
    def _words(self) -> tuple[str, ...]:
        own = self.ids if self.is_distinct else self.ids - {self.customer_id}
        return (*sorted(own), *sorted(self.addresses))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        spellings = {s for word in self._words for s in _spellings(word)}
        longest_first = sorted(spellings, key=len, reverse=True)
        any_of = "|".join(map(re.escape, longest_first)) or r"(?!)"
        return re.compile(f"{_NOT_BEFORE}(?:{any_of}){_NOT_AFTER}", re.IGNORECASE)

    @cached_property
    def _bytes(self) -> re.Pattern[bytes]:
        words = {s.encode() for word in self._words for s in _spellings(word)}
        any_of = b"|".join(map(re.escape, sorted(words, key=len, reverse=True))) or rb"(?!)"
        return re.compile(any_of, re.IGNORECASE)

    def is_in_text(self, text: str) -> bool:
        """Whether a text holds an address of the person, or the id where it is distinct."""
        if self._pattern.search(text):
            return True
        return "%" in text and self._pattern.search(unquote_plus(text)) is not None

    def is_in_bytes(self, data: bytes) -> bool:
        """As `is_in_text`, for bytes of any kind; they are taken for text where they look so."""
        for found in self._bytes.finditer(data):
            start, stop = max(0, found.start() - 2), found.end() + 2
            if self._pattern.search(data[start:stop].decode("utf-8", "replace")):
                return True
        return False

    def is_in(self, value: Any) -> bool:
        """Whether anything in a parsed JSON value says something of the person."""
        if isinstance(value, str):
            nested = _nested(value)
            return self.is_in_text(value) or (nested is not None and self.is_in(nested))
        if isinstance(value, dict):
            return any(self.is_in(key) or self.is_in(inner) for key, inner in value.items())
        if isinstance(value, list):
            return any(self.is_in(inner) for inner in value)
        return isinstance(value, int) and self.is_distinct and str(value) == self.customer_id

    def without(self, value: Any) -> Any:
        """A parsed JSON value in which every mention is replaced; elements of lists become null."""
        if not self.is_in(value):
            return value
        if isinstance(value, str):
            nested = _nested(value)
            if nested is not None and self.is_in(nested):
                return json.dumps(self.without(nested), ensure_ascii=False)
            shown = value if self._pattern.search(value) else unquote_plus(value)
            return self._pattern.sub(ERASED, shown)
        if isinstance(value, dict):
            return {self.without(key): self.without(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [None if self.is_in(inner) else inner for inner in value]
        return None


def addresses_in(data: bytes) -> set[str]:
    """Everything in some bytes that looks like an e-mail address, in lower case."""
    return {
        found.decode("utf-8", "replace").lower().replace("%40", "@").replace("\\u0040", "@")
        for found in _ADDRESS.findall(data)
    }


def _spellings(word: str) -> set[str]:
    """A word as it may stand in JSON, in a URL or in a form."""
    return {
        word,
        json.dumps(word)[1:-1],
        quote(word, safe=""),
        quote_plus(word),
        word.replace("@", "%40"),
        word.replace("@", "\\u0040"),
    }


def _nested(text: str) -> Any:
    """What a text is, if it is a JSON object or array itself."""
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
