"""What opens and clicks say about who made them: user agents and addresses.

Addresses of people are from 198.18.0.0/15 (reserved for benchmarks), those of scanners from
203.0.113.0/24 and 192.0.2.0/24 (documentation), so nothing here points at anybody. Half of the
Mail Privacy Protection fetches come from ranges of the shipped list.
"""

from __future__ import annotations

from typing import Final

BROWSERS: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/26.0 Safari/605.1.15",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36",
)
PHONES: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Mobile/15E148",
)
APPLE_BARE: Final = "Mozilla/5.0"
GMAIL: Final = (
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
)
YAHOO: Final = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
OUTLOOK: Final = (
    "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Win64; x64; Trident/7.0; "
    "Microsoft Outlook 16.0.5483)"
)
NAMED_SCANNERS: Final = (
    "Mozilla/5.0 (compatible; BarracudaSentinel/1.0)",
    "Mozilla/5.0 (compatible; Proofpoint URL Defense)",
)
SCRIPTS: Final = ("python-requests/2.31.0", "Go-http-client/1.1")

AGENTS: Final = (
    *BROWSERS, *PHONES, APPLE_BARE, GMAIL, YAHOO, OUTLOOK, *NAMED_SCANNERS, *SCRIPTS,
)  # fmt: skip
"""Every agent; events hold positions in it."""

N_BROWSERS: Final = len(BROWSERS)
PHONE_AT: Final = N_BROWSERS
APPLE_AT: Final = AGENTS.index(APPLE_BARE)
GMAIL_AT: Final = AGENTS.index(GMAIL)
YAHOO_AT: Final = AGENTS.index(YAHOO)
OUTLOOK_AT: Final = AGENTS.index(OUTLOOK)
NAMED_AT: Final = AGENTS.index(NAMED_SCANNERS[0])
SCRIPT_AT: Final = AGENTS.index(SCRIPTS[0])

RELAY_LISTED: Final = tuple(f"172.226.43.{64 + n}" for n in range(64))
RELAY_OTHER: Final = tuple(f"192.0.2.{n}" for n in range(64))
GMAIL_HOSTS: Final = tuple(f"66.102.6.{n}" for n in range(64))
YAHOO_HOSTS: Final = tuple(f"203.0.113.{128 + n}" for n in range(16))
SCANNER_HOSTS: Final = tuple(f"203.0.113.{n}" for n in range(48))
MOBILE_HOSTS: Final = tuple(f"198.19.255.{n}" for n in range(32))

HOSTS: Final = (
    *RELAY_LISTED, *RELAY_OTHER, *GMAIL_HOSTS, *YAHOO_HOSTS, *SCANNER_HOSTS, *MOBILE_HOSTS,
)  # fmt: skip
"""Addresses of machines and gateways; those of people follow after them."""

RELAY_OTHER_AT: Final = len(RELAY_LISTED)
GMAIL_HOST_AT: Final = RELAY_OTHER_AT + len(RELAY_OTHER)
YAHOO_HOST_AT: Final = GMAIL_HOST_AT + len(GMAIL_HOSTS)
SCANNER_HOST_AT: Final = YAHOO_HOST_AT + len(YAHOO_HOSTS)
MOBILE_HOST_AT: Final = SCANNER_HOST_AT + len(SCANNER_HOSTS)
PEOPLE_AT: Final = len(HOSTS)

_HOMES: Final = 2 * 65_536 - 512


def addresses(homes: int) -> list[str]:
    """Address by position: HOSTS, then one for each home or office; beyond 130,000 they repeat."""
    return [*HOSTS, *(_home(number % _HOMES) for number in range(homes))]


def _home(number: int) -> str:
    return f"198.{18 + number // 65_536}.{number // 256 % 256}.{number % 256}"
