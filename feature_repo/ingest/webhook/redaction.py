"""Keep addresses out of what an event says in free text."""

from __future__ import annotations

import re
from typing import Final

PLACEHOLDER: Final = "(address)"

_ADDRESS: Final = re.compile(r"[\w.+-]{1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63})+", re.IGNORECASE)


def without_addresses(text: str) -> str:
    """The text with every e-mail address in it replaced.

    >>> without_addresses("550 5.1.1 <jane@example.com>: unknown")
    '550 5.1.1 <(address)>: unknown'
    >>> without_addresses("https://shop.example/?e=jane%40example.com&x=1")
    'https://shop.example/?e=(address)&x=1'
    """
    if "@" not in text and "%40" not in text:
        return text
    return _ADDRESS.sub(PLACEHOLDER, text)


def is_address(text: str) -> bool:
    """Whether a text is an e-mail address and nothing more.

    >>> is_address("jane@example.com"), is_address("c-17")
    (True, False)
    """
    return "@" in text and _ADDRESS.fullmatch(text.strip()) is not None
