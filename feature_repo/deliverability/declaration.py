"""The section `deliverability` of foresend.yaml: who sends from where, whose complaint it is.

deliverability:
  sending_ips: {192.0.2.10: news.example, 198.51.100.0/28: mail.example}
  complaints:
    customer_header: X-Foresend-Customer
    verp: "bounce[+](?P<customer>[^@+]+)@"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from feature_repo.config import Config, keys_of
from feature_repo.deliverability.reading import Unusable, domain
from feature_repo.errors import ConfigError

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_KEYS: Final = ("sending_ips", "complaints")
_COMPLAINT_KEYS: Final = ("customer_header", "verp")
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,75}")


@dataclass(frozen=True, slots=True)
class SendingIps:
    """Which domain sends from an IP; the narrowest network that holds it decides."""

    networks: tuple[tuple[Network, str], ...] = ()

    def domain_of(self, ip: str) -> str | None:
        """The sending domain, None when no network holds the IP, or it is none."""
        try:
            address = ip_address(ip.strip())
        except ValueError:
            return None
        holding = [(net.prefixlen, name) for net, name in self.networks if _holds(net, address)]
        return max(holding)[1] if holding else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaints:
    """How the customer of a complaint is found."""

    #: Header of the message that was complained about.
    customer_header: str = "X-Foresend-Customer"
    #: Pattern with a group `customer`, searched in its envelope sender.
    verp: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What the section says."""

    sending_ips: SendingIps = SendingIps()
    complaints: Complaints = Complaints()


def declaration(config: Config) -> Declaration:
    """The section of a file; all defaults when there is none.

    Raises:
        ConfigError: it cannot be used; the message names the file and the key.
    """
    where = f"{config.path}: deliverability"
    section = keys_of(config.sections.get("deliverability") or {}, where, _KEYS)
    complaints = section.get("complaints") or {}
    try:
        return Declaration(
            sending_ips=_sending_ips(section.get("sending_ips") or {}),
            complaints=_complaints(keys_of(complaints, f"{where}.complaints", _COMPLAINT_KEYS)),
        )
    except ValueError as exc:
        message = f"{config.path}: {exc}."
        raise ConfigError(message) from exc


def _sending_ips(value: object) -> SendingIps:
    where = "deliverability.sending_ips"
    if not isinstance(value, Mapping):
        message = f"{where} has value {value!r}; write it like {{192.0.2.10: news.example}}"
        raise ValueError(message)
    networks = []
    for ip, name in value.items():
        try:
            networks.append((ip_network(str(ip)), domain(str(name))))
        except Unusable as exc:
            message = f"{where}: {ip} has value {name!r}; {exc}"
            raise ValueError(message) from exc
        except ValueError as exc:
            message = f"{where}: {ip!r} is no IP and no network ({exc}); use 192.0.2.0/24"
            raise ValueError(message) from exc
    return SendingIps(tuple(networks))


def _complaints(value: Mapping[str, Any]) -> Complaints:
    where = "deliverability.complaints"
    header = value.get("customer_header", "X-Foresend-Customer")
    if not isinstance(header, str) or not _HEADER.fullmatch(header):
        message = f"{where}.customer_header has value {header!r}; give the name of a mail header"
        raise ValueError(message)
    verp = value.get("verp")
    return Complaints(customer_header=header, verp=None if verp is None else _pattern(where, verp))


def _pattern(where: str, written: object) -> re.Pattern[str]:
    try:
        pattern = re.compile(str(written))
    except re.error as exc:
        message = f"{where}.verp has value {written!r}, no regular expression: {exc}"
        raise ValueError(message) from exc
    if "customer" not in pattern.groupindex:
        message = f"{where}.verp has value {written!r}; it must have a group (?P<customer>...)"
        raise ValueError(message)
    return pattern


def _holds(network: Network, address: Address) -> bool:
    return network.version == address.version and address in network
