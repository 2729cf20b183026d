"""Lists of address ranges: one CIDR per line, with the date of the list on its first line."""

from __future__ import annotations

import ipaddress
import re
import socket
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from feature_repo.errors import ConfigError

_DATED: Final = re.compile(r"#\s*dated:\s*(\d{4}-\d{2}-\d{2})\s*$")


@dataclass(frozen=True, slots=True)
class AddressList:
    """Disjoint ranges of addresses, in order; looked up in a few hundred nanoseconds."""

    #: Day of the list, None when it does not say.
    dated: date | None
    #: First addresses of the ranges and last addresses, as numbers: version 4, then version 6.
    starts: tuple[list[int], list[int]]
    ends: tuple[list[int], list[int]]

    def __contains__(self, address: str) -> bool:
        number, six = _number(address)
        if number is None:
            return False
        at = bisect_right(self.starts[six], number) - 1
        return at >= 0 and number <= self.ends[six][at]

    def __len__(self) -> int:
        return len(self.starts[0]) + len(self.starts[1])


def address_list(cidrs: Iterable[str], dated: date | None = None) -> AddressList:
    """A list of these ranges.

    >>> "192.0.2.7" in address_list(["192.0.2.0/29"]), "192.0.2.8" in address_list(["192.0.2.0/29"])
    (True, False)
    """
    nets = [ipaddress.ip_network(cidr, strict=False) for cidr in cidrs]
    four = sorted(ipaddress.collapse_addresses(n for n in nets if n.version == 4))
    six = sorted(ipaddress.collapse_addresses(n for n in nets if n.version == 6))
    families = (four, six)
    starts = [[int(net.network_address) for net in family] for family in families]
    ends = [[int(net.broadcast_address) for net in family] for family in families]
    return AddressList(dated, (starts[0], starts[1]), (ends[0], ends[1]))


def read_addresses(path: Path) -> AddressList:
    """The list in a file: CIDR first on each line, the rest after a comma is not read.

    Apple's egress-ip-ranges.csv can be used as it is.

    Raises:
        ConfigError: the file cannot be read, or a line has no range.
    """
    dated: date | None = None
    cidrs: list[str] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        message = f"{path} cannot be read: {exc}."
        raise ConfigError(message) from exc
    for line in lines:
        if found := _DATED.match(line):
            dated = date.fromisoformat(found[1])
        elif line.strip() and not line.startswith("#"):
            cidrs.append(line.split(",", 1)[0].strip())
    try:
        return address_list(cidrs, dated)
    except ValueError as exc:
        message = f"{path}: {exc}; write one CIDR per line, e.g. 192.0.2.0/24."
        raise ConfigError(message) from exc


def _number(address: str) -> tuple[int | None, int]:
    """An address as a number and its family (0: version 4, 1: version 6)."""
    six = ":" in address
    try:
        packed = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, address)
    except (OSError, ValueError):  # a zone such as fe80::1%eth0, a null byte, a port, a host name
        return None, 0
    return int.from_bytes(packed), int(six)
