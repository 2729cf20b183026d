"""The calendar: which campaigns go out on a day, to whom, about what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infra.simulator.options import DOMAINS, Options
from infra.simulator.population import TOPICS
from infra.simulator.randomness import Purpose, draw

PER_DAY: Final = len(DOMAINS)
"""Campaigns of a day: one from each sending domain."""

MOST_LINKS: Final = 8
HONEYPOT: Final = MOST_LINKS
"""Number of the link that no person can see."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """One mailing."""

    #: Number in the whole programme: day * PER_DAY + place.
    number: int
    day: int
    domain: int
    service: str
    topic: int
    #: How good the offer is, as log-odds.
    quality: float
    #: Hour of the day, UTC, at which sending begins.
    hour: float
    #: Links people see are 0 to links - 1.
    links: int
    has_honeypot: bool
    #: Share of the customers who get it.
    share: float

    @property
    def id(self) -> str:
        """Its id, as the sending service knows it."""
        return campaign_id(self.number, self.topic)


def campaign_id(number: int, topic: int) -> str:
    """Id of a campaign.

    >>> campaign_id(12, 0)
    'c0012-garden'
    """
    return f"c{number:04}-{TOPICS[topic]}"


def campaigns(options: Options, day: int) -> list[Campaign]:
    """The campaigns of a day."""
    rng = draw(options.seed, Purpose.CALENDAR, day)
    made = []
    for place in range(PER_DAY):
        number = day * PER_DAY + place
        made.append(
            Campaign(
                number=number,
                day=day,
                domain=place,
                service=options.services[number % len(options.services)],
                topic=int(rng.integers(len(TOPICS))),
                quality=float(rng.normal(0.0, 0.3)),
                hour=float(rng.uniform(5.0, 18.0)),
                links=int(rng.integers(4, MOST_LINKS + 1)),
                has_honeypot=bool(rng.random() < 0.5),
                share=min(1.0, options.sends_per_week / 7 / PER_DAY),
            )
        )
    return made


def link_url(campaign: str, link: int) -> str:
    """Target of a link of a campaign.

    >>> link_url("c0012-garden", 3)
    'https://shop.example/c0012-garden/3'
    """
    name = "foresend-honeypot" if link == HONEYPOT else str(link)
    return f"https://shop.example/{campaign}/{name}"
