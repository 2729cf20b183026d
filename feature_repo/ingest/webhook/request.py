"""A delivery as it came: the bytes and the headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

Fetch = Callable[[str], bytes]
"""Gets the content of a URL; raises OSError when it cannot."""


@dataclass(frozen=True, slots=True)
class Request:
    """Body and headers; the names of headers are lower-case."""

    body: bytes
    headers: Mapping[str, str]

    @classmethod
    def of(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """A request with headers in any case.

        >>> Request.of(b"", {"X-Signature": "abc"}).header("x-signature")
        'abc'
        """
        return cls(body, {name.lower(): value for name, value in headers.items()})

    def header(self, name: str) -> str:
        """The value of a header without outer blanks; empty when it is not there."""
        return self.headers.get(name, "").strip()
