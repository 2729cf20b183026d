"""Which company runs a mailbox, by the servers that take mail for its domain (MX).

A company's own domain says nothing by its name; its MX records do: a Workspace domain's mail is
taken by google.com, and filtered as Gmail's is. Gateways in front of a mailbox filter too, so they
are families of their own. The words are those of events (`ingest/webhook/mailboxes.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from feature_repo.ingest.webhook.mailboxes import FAMILIES, family_of_address, family_of_name

OTHER: Final = "other"
"""The family of everybody who has no word of their own."""

_MX_SUFFIXES: Final = {
    "google": "google.com googlemail.com smtp.goog psmtp.com",
    "microsoft": "mail.protection.outlook.com olc.protection.outlook.com protection.outlook.com "
    "mx.microsoft outlook.com hotmail.com protection.office365.us "
    "mail.protection.partner.outlook.cn",
    "yahoo": "yahoodns.net yahoo.com yahoo.co.jp aol.com",
    "apple": "icloud.com mail.icloud.com apple.com me.com",
    "united_internet": "gmx.net web.de emig.gmx.net",
    "ionos": "kundenserver.de ionos.de ionos.com 1and1.com perfora.net",
    "deutsche_telekom": "t-online.de",
    "freenet": "freenet.de",
    "proton": "protonmail.ch proton.ch",
    "fastmail": "messagingengine.com",
    "comcast": "comcast.net",
    "orange": "orange.fr wanadoo.fr",
    "free": "free.fr",
    "laposte": "laposte.net",
    "sfr": "sfr.fr",
    "libero": "libero.it italiaonline.it virgilio.it",
    "seznam": "seznam.cz",
    "wp": "wp.pl o2.pl",
    "onet": "onet.pl",
    "mail_ru": "mail.ru",
    "yandex": "yandex.ru yandex.net",
    "naver": "naver.com",
    "tencent": "qq.com exmail.qq.com",
    "netease": "163.com 126.com netease.com qiye.163.com",
    "zoho": "zoho.com zoho.eu zoho.in zohomail.com zohomail.eu",
    "ovh": "ovh.net",
    "gandi": "gandi.net",
    "infomaniak": "infomaniak.ch infomaniak.com",
    "rackspace": "emailsrvr.com",
    "godaddy": "secureserver.net",
    "amazon": "amazonaws.com awsapps.com",
    "mimecast": "mimecast.com mimecast.co.za",
    "proofpoint": "pphosted.com ppe-hosted.com",
    "cisco": "iphmx.com",
    "barracuda": "barracudanetworks.com",
    "hornetsecurity": "hornetsecurity.com antispameurope.com",
}
_BY_SUFFIX: Final = {
    suffix: family for family, suffixes in _MX_SUFFIXES.items() for suffix in suffixes.split()
}
_REPORTERS: Final = {
    "google": "google.com",
    "microsoft": "microsoft.com outlook.com hotmail.com",
    "yahoo": "yahoo.com yahooinc.com aol.com",
    "apple": "apple.com icloud.com",
    "united_internet": "gmx.net web.de mail.com 1und1.de",
    "fastmail": "fastmail.com fastmaildmarc.com",
}
_BY_REPORTER: Final = {
    domain: family for family, domains in _REPORTERS.items() for domain in domains.split()
}
_KNOWN: Final = frozenset(FAMILIES) | frozenset(_BY_SUFFIX.values()) | {OTHER}


def family_of_mx(hosts: Iterable[tuple[int, str]]) -> str:
    """The family of a domain with these MX records (preference, host); the first choice decides.

    >>> family_of_mx([(5, "alt1.aspmx.l.google.com."), (1, "aspmx.l.google.com.")])
    'google'
    >>> family_of_mx([(10, "mx.shop.example")])
    'other'
    """
    for _, host in sorted(hosts):
        family = _by_suffix(host.rstrip(".").lower(), _BY_SUFFIX)
        if family is not None:
            return family
    return OTHER


def family_of_seed(name: str, address: str) -> str:
    """The family of a seed mailbox, by the provider's name if there is one, else its address.

    >>> family_of_seed("Gmail", ""), family_of_seed("", "seed@hotmail.co.uk")
    ('google', 'microsoft')
    """
    if name.strip():
        return family_of_name(name.strip())
    return family_of_address(address) or OTHER


def family_of_reporter(name: str, address: str) -> str:
    """The family whose mailboxes a report is about, by who sends the report.

    >>> family_of_reporter("Enterprise Outlook", "dmarcreport@microsoft.com")
    'microsoft'
    >>> family_of_reporter("usssa.com", "postmaster@usssa.com")
    'other'
    """
    domain = address.rpartition("@")[2].strip("> ").lower()
    found = _by_suffix(domain, _BY_REPORTER) or family_of_address(address)
    named = found or family_of_name(name.strip())
    return named if named in _KNOWN else OTHER


def _by_suffix(host: str, table: dict[str, str]) -> str | None:
    """The entry of the host or of the longest domain above it."""
    labels = host.split(".")
    for start in range(len(labels) - 1):
        family = table.get(".".join(labels[start:]))
        if family is not None:
            return family
    return None
