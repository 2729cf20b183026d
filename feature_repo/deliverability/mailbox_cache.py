"""What DNS said about domains, kept for a while: a small file that whoever parses events reads.

Parsing never asks DNS and never waits: it takes what the file says, and nothing for the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_repo.ingest.webhook import mailboxes
from feature_repo.settings import Settings
from feature_repo.sole import only_one, write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a domain."""

    #: None: there is no such domain, or it takes no mail.
    family: str | None
    #: Hosts that take its mail, best first.
    mx: tuple[str, ...]
    #: Seconds since 1970 from which DNS should be asked again.
    until: float

    def is_fresh(self, now: datetime) -> bool:
        """Whether DNS need not be asked."""
        return now.timestamp() < self.until


class MailboxCache:
    """The file of an installation. Damaged, it counts as empty: DNS can be asked again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._path: Path = settings.state_path / "mailboxes.json"

    def read(self) -> dict[str, Known]:
        """All that is known, old answers too: a mailbox rarely moves."""
        try:
            told = json.loads(self._path.read_text("utf-8"))
            return {str(name): _known(entry) for name, entry in told.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def add(self, found: Mapping[str, Known]) -> None:
        """Take in answers, over those of before."""
        with only_one(self._settings, "mailboxes", wait_s=30.0):
            merged = {**self.read(), **found}
            content = {name: asdict(entry) for name, entry in sorted(merged.items())}
            write_whole(self._path, json.dumps(content, indent=1) + "\n")

    def due(self, domains: Iterable[str], now: datetime) -> list[str]:
        """Those DNS should be asked about."""
        held = self.read()
        return [name for name in domains if name not in held or not held[name].is_fresh(now)]


def use_known_mailboxes(settings: Settings) -> int:
    """Let this process's parsing of events know what the file says; the number of domains."""
    known = MailboxCache(settings).read()
    families = {name: entry.family for name, entry in known.items() if entry.family is not None}
    mailboxes.learn(families)
    return len(families)


def _known(entry: Mapping[str, Any]) -> Known:
    family = entry["family"]
    return Known(
        family=None if family is None else str(family),
        mx=tuple(str(host) for host in entry["mx"]),
        until=float(entry["until"]),
    )
