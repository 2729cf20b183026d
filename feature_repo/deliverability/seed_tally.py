"""Seed mailboxes counted per cell, and the readings made of the counts.

Metrics seed_inbox, seed_tab, seed_spam, seed_missing: how many seeds, of `n` that are settled.
Seeds still pending do not count. The part is the test: tests of one day add up, and a test that is
imported again, with more seeds settled, replaces what it said before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from email.utils import parseaddr
from typing import Final

from feature_repo.deliverability.reading import Reading, Taken, Unusable, Why
from feature_repo.deliverability.seed_mapping import PLACEMENTS

SETTLED: Final = ("inbox", "tab", "spam", "missing")
LONGEST_ID: Final = 120
"""Characters of a test's id."""

Cell = tuple[str, str, date, str | None]
"""Sending domain, mailbox provider, UTC day, test."""


@dataclass(slots=True)
class Tally:
    """Counts per cell and placement."""

    counts: dict[Cell, dict[str, float]] = field(default_factory=dict)

    def add(self, cell: Cell, placement: str, many: float) -> None:
        """Count seeds."""
        row = self.counts.setdefault(cell, dict.fromkeys(PLACEMENTS, 0.0))
        row[placement] += many

    def taken(self) -> Taken:
        """Readings of all cells that have a settled seed."""
        taken = Taken()
        for (name, family, day, test), row in sorted(self.counts.items(), key=str):
            taken.pending += int(row["pending"])
            settled = sum(row[placement] for placement in SETTLED)
            if not settled:
                continue
            taken.readings += [
                Reading(
                    sending_domain=name,
                    mailbox_provider=family,
                    day=day,
                    metric=f"seed_{placement}",
                    part=test,
                    value=row[placement],
                    n=settled,
                )
                for placement in SETTLED
            ]
        return taken


def whole(many: float) -> float:
    """A number of mailboxes.

    Raises:
        Unusable: it has a fraction.
    """
    if many != int(many):
        raise Unusable(Why.BAD_NUMBER, f"{many:g} is no number of mailboxes")
    return many


def domain_of_address(address: str) -> str:
    """What follows the @, nothing when there is none.

    >>> domain_of_address("News <news@shop.example>")
    'shop.example'
    """
    return parseaddr(address)[1].rpartition("@")[2]
