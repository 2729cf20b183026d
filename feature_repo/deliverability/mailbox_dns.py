"""Ask DNS who takes the mail of domains, with limits, in a few threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final, Protocol

import dns.exception
import dns.resolver
from dns.nameserver import Do53Nameserver

from feature_repo.deliverability.mailbox_cache import Known
from feature_repo.deliverability.mailbox_families import OTHER, family_of_mx
from feature_repo.deliverability.settings import MailboxSettings
from feature_repo.errors import ConfigError

_AT_ONCE: Final = 8
#: RFC 7505: a domain with this one MX takes no mail.
_NULL_MX: Final = ((0, "."),)


class Lookup(Protocol):
    """MX records of a domain."""

    def __call__(self, domain: str) -> Sequence[tuple[int, str]]:
        """Preference and host; none: the domain is there, without MX.

        Raises:
            NoSuchDomain: it does not exist.
            DnsSilent: no answer in time; nothing is known.
        """


class NoSuchDomain(Exception):
    """The domain does not exist."""


class DnsSilent(Exception):
    """No answer in time, or none that can be used."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What asking about a domain gave; `known` is None when DNS did not answer."""

    domain: str
    known: Known | None


def resolve(
    domains: Sequence[str],
    lookup: Lookup,
    settings: MailboxSettings,
    clock: Callable[[], datetime],
) -> Iterator[Answer]:
    """Answers in the order of the domains. A silent DNS leaves what was known as it is."""

    def ask(name: str) -> Answer:
        try:
            records = lookup(name)
        except NoSuchDomain:
            return Answer(name, _missing(settings, clock()))
        except DnsSilent:
            return Answer(name, None)
        return Answer(name, _known(records, settings, clock()))

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="mx") as pool:
        yield from pool.map(ask, domains)


def open_lookup(settings: MailboxSettings) -> Lookup:
    """Lookups by dnspython, with the system's servers or those of the settings.

    Raises:
        ConfigError: asking is not allowed, or there is nobody to ask.
    """
    if not settings.dns:
        message = (
            "Asking DNS is not allowed here. Set FORESEND_MAILBOXES_DNS=true if queries about "
            "your customers' domains may leave this machine."
        )
        raise ConfigError(message)
    try:
        resolver = dns.resolver.Resolver(configure=not settings.nameservers)
        if settings.nameservers:
            resolver.nameservers = [_server(text) for text in settings.nameservers]
    except (dns.exception.DNSException, ValueError) as exc:
        message = (
            f"There is no DNS server to ask: {exc} "
            "Set FORESEND_MAILBOXES_NAMESERVERS to their IP addresses."
        )
        raise ConfigError(message) from exc
    resolver.lifetime = settings.timeout_s

    def lookup(domain: str) -> Sequence[tuple[int, str]]:
        try:
            answer = resolver.resolve(f"{domain}.", "MX", search=False)
        except dns.resolver.NXDOMAIN:
            raise NoSuchDomain from None
        except dns.resolver.NoAnswer:
            return ()
        except dns.exception.DNSException:
            raise DnsSilent from None
        return [(record.preference, record.exchange.to_text()) for record in answer]

    return lookup


def _server(text: str) -> Do53Nameserver:
    """An IP address, or with a port `192.0.2.53:5353`."""
    address, colon, port = text.partition(":")
    if not colon or ":" in port:
        address, port = text, "53"
    return Do53Nameserver(str(ip_address(address)), int(port))


def _known(records: Sequence[tuple[int, str]], settings: MailboxSettings, now: datetime) -> Known:
    if tuple(records) == _NULL_MX:
        return _missing(settings, now)
    until = (now + timedelta(days=settings.ttl_days)).timestamp()
    hosts = tuple(host.rstrip(".").lower() for _, host in sorted(records))
    # Without MX the domain's own host takes its mail (RFC 5321, 5.1).
    return Known(family=family_of_mx(records) if hosts else OTHER, mx=hosts, until=until)


def _missing(settings: MailboxSettings, now: datetime) -> Known:
    until = (now + timedelta(hours=settings.missing_ttl_hours)).timestamp()
    return Known(family=None, mx=(), until=until)
