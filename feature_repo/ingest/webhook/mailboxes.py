"""Which company runs a mailbox, by the domain of its address or by a provider's name for it.

A company's own domain says nothing without asking DNS, which an event must not wait for: None,
unless somebody asked before (`deliverability/mailbox_cache.py`) and this process was told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

_DOMAINS: Final = {
    "google": "gmail.com googlemail.com",
    "microsoft": "outlook.com hotmail.com live.com msn.com passport.com",
    "yahoo": "yahoo.com ymail.com rocketmail.com aol.com aim.com verizon.net",
    "apple": "icloud.com me.com mac.com",
    "united_internet": "gmx.de gmx.net gmx.at gmx.ch gmx.com gmx.fr web.de mail.com 1und1.de",
    "deutsche_telekom": "t-online.de magenta.de",
    "freenet": "freenet.de",
    "proton": "protonmail.com proton.me pm.me",
    "comcast": "comcast.net xfinity.com",
    "orange": "orange.fr wanadoo.fr",
    "free": "free.fr",
    "laposte": "laposte.net",
    "sfr": "sfr.fr neuf.fr",
    "libero": "libero.it virgilio.it",
    "seznam": "seznam.cz email.cz",
    "wp": "wp.pl o2.pl",
    "onet": "onet.pl op.pl vp.pl",
    "mail_ru": "mail.ru inbox.ru list.ru bk.ru",
    "yandex": "yandex.ru yandex.com ya.ru",
    "naver": "naver.com",
    "tencent": "qq.com foxmail.com",
    "netease": "163.com 126.com yeah.net",
    "zoho": "zoho.com zohomail.com",
    "bt": "btinternet.com btopenworld.com",
    "sky": "sky.com",
}
_FAMILIES: Final = {
    domain: family for family, domains in _DOMAINS.items() for domain in domains.split()
}
FAMILIES: Final = tuple(_DOMAINS)
"""The words for the companies."""
_NATIONAL: Final = re.compile(r"(?:.*\.)?(yahoo|ymail|hotmail|live|outlook|aol)\.[a-z.]{2,6}")
_NATIONAL_FAMILIES: Final = {
    "yahoo": "yahoo",
    "ymail": "yahoo",
    "aol": "yahoo",
    "hotmail": "microsoft",
    "live": "microsoft",
    "outlook": "microsoft",
}
_NAMES: Final = {
    "gmail": "google",
    "gsuite": "google",
    "google": "google",
    "hotmail": "microsoft",
    "outlook": "microsoft",
    "office 365": "microsoft",
    "microsoft": "microsoft",
    "yahoo": "yahoo",
    "aol": "yahoo",
    "verizon": "yahoo",
    "icloud": "apple",
    "apple": "apple",
    "gmx": "united_internet",
    "web.de": "united_internet",
}

_LEARNED: Final[dict[str, str]] = {}


def learn(families: Mapping[str, str]) -> None:
    """Tell this process who runs the mailboxes of further domains, in place of what it was told."""
    _LEARNED.clear()
    _LEARNED.update(families)
    _family_of_domain.cache_clear()


def family_of_address(address: str) -> str | None:
    """Who runs the mailbox of this address, None when the domain does not tell.

    >>> family_of_address("jane@hotmail.co.uk"), family_of_address("jane@shop.example")
    ('microsoft', None)
    """
    return _family_of_domain(address.rpartition("@")[2].strip("> ").lower())


def family_by_name(domain: str) -> str | None:
    """Who runs the mailboxes of a domain, None when its name does not tell.

    >>> family_by_name("yahoo.co.uk"), family_by_name("shop.example")
    ('yahoo', None)
    """
    known = _FAMILIES.get(domain)
    if known is not None:
        return known
    national = _NATIONAL.fullmatch(domain)
    return None if national is None else _NATIONAL_FAMILIES[national[1]]


@lru_cache(maxsize=16_384)
def _family_of_domain(domain: str) -> str | None:
    return family_by_name(domain) or _LEARNED.get(domain)


def family_of_name(name: str) -> str:
    """A provider's name for a mailbox company in our words, where we have one.

    >>> family_of_name("Hotmail / Outlook"), family_of_name("Orange")
    ('microsoft', 'orange')
    """
    lower = name.lower()
    return next((ours for theirs, ours in _NAMES.items() if theirs in lower), lower)
