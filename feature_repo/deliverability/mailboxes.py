"""Who runs the mailboxes of domains: by name, by what DNS said before, or by asking it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from feature_repo.deliverability.mailbox_cache import Known, MailboxCache
from feature_repo.deliverability.mailbox_dns import Lookup, open_lookup, resolve
from feature_repo.deliverability.reading import Unusable, domain
from feature_repo.deliverability.settings import MailboxSettings
from feature_repo.errors import UnusableInput
from feature_repo.ingest.webhook.mailboxes import family_by_name
from feature_repo.settings import Settings

_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailboxes:
    """Who runs the mailboxes of one domain."""

    domain: str
    #: None: not known, or no such domain.
    family: str | None
    #: name (shipped map), dns (asked now), kept (asked before), or silent (DNS did not answer).
    by: str
    mx: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether DNS did not answer, and nothing was kept."""
        return self.by == "silent"


def ask_mailboxes(
    settings: Settings,
    limits: MailboxSettings,
    domains: Sequence[str],
    *,
    again: bool,
    clock: Callable[[], datetime],
    progress: Callable[[str, int, int | None], None],
    lookup: Lookup | None = None,
) -> list[Mailboxes]:
    """The answers, in the order of the domains. DNS is asked only about those it has to be.

    Answers are kept as they come, so that a killed run loses little.

    Raises:
        ConfigError: DNS would have to be asked, and that is not allowed.
    """
    named = {name: family for name in domains if (family := family_by_name(name)) is not None}
    cache = MailboxCache(settings)
    unnamed = [name for name in dict.fromkeys(domains) if name not in named]
    due = unnamed if again else cache.due(unnamed, clock())
    answered: set[str] = set()
    if due:
        ask = lookup or open_lookup(limits)
        for start in range(0, len(due), _AT_ONCE):
            found: dict[str, Known] = {}
            for answer in resolve(due[start : start + _AT_ONCE], ask, limits, clock):
                progress("asking DNS", start + len(found) + 1, len(due))
                if answer.known is not None:
                    found[answer.domain] = answer.known
            cache.add(found)
            answered |= found.keys()
    held = cache.read()
    return [_answer(name, named.get(name), held.get(name), name in answered) for name in domains]


def read_domains(given: Iterable[str], file: Path | None) -> list[str]:
    """The domains, each once, in the order met.

    Raises:
        UnusableInput: there is none, one is no domain, or the file cannot be read.
    """
    lines = list(given)
    if file is not None:
        try:
            text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            message = f"--file {file} cannot be read: {exc}. Give a text file, a domain a line."
            raise UnusableInput(message) from exc
        lines += [line for line in text.splitlines() if line.strip()]
    try:
        # An address stands for its domain.
        found = [domain(line.rpartition("@")[2]) for line in lines]
    except Unusable as exc:
        message = f"{exc}. Give domains like shop.example."
        raise UnusableInput(message) from exc
    if not found:
        message = "No domain is given. Name some, or a --file with one a line."
        raise UnusableInput(message)
    return list(dict.fromkeys(found))


def _answer(name: str, named: str | None, held: Known | None, is_new: bool) -> Mailboxes:
    if named is not None:
        return Mailboxes(domain=name, family=named, by="name")
    if held is None:
        return Mailboxes(domain=name, family=None, by="silent")
    by = "dns" if is_new else "kept"
    return Mailboxes(domain=name, family=held.family, by=by, mx=held.mx)
