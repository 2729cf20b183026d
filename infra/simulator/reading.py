"""What people do with a message: read it, click, complain, unsubscribe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from feature_repo.event import MICROS, EventType, Machine
from infra.simulator import agents
from infra.simulator.acts import BY_HEADER, BY_LINK, INBOX, MAKER, PERSON, Acts, acts
from infra.simulator.customers import Customers
from infra.simulator.population import GOOGLE, YAHOO, Flags, Floats, Ints
from infra.simulator.randomness import Purpose, draw
from infra.simulator.sending import HOUR_US, Messages

LONGEST_US: Final = 7 * 24 * HOUR_US
"""Nobody reads a message later than this."""

_IN_SPAM: Final = 0.03
"""What is left of the chance of reading when the message is in the spam folder."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Who read which message: rows of the day's messages, when, and whether they clicked."""

    rows: Ints
    at: Ints
    clicked: Flags
    #: For every message of the day: chance of a click, before it was decided where it lands.
    click_p: Floats


def read(customers: Customers, messages: Messages, day: int) -> tuple[Readings, list[Acts]]:
    """The readings of a day's messages, and the events they leave."""
    rng = draw(customers.seed, Purpose.READING, day)
    read_p, then_click = _chances(customers, messages)
    seen_p = np.where(messages.placement == INBOX, read_p, _IN_SPAM * read_p)
    seen_p = np.where(messages.delivered >= 0, seen_p, 0.0)
    rows = np.flatnonzero(rng.random(len(messages)) < seen_p)
    at = messages.delivered[rows] + _delays(customers, messages, rows, rng)
    clicked = rng.random(len(rows)) < then_click[rows]
    reach = messages.inbox_p + (1 - messages.inbox_p) * _IN_SPAM
    readings = Readings(rows, at, clicked, reach * read_p * then_click)
    blocks = [
        *_opens(customers, messages, readings, rng),
        *_clicks(customers, messages, readings, rng),
        *_partings(customers, messages, readings, rng),
    ]
    return readings, blocks


def _chances(customers: Customers, messages: Messages) -> tuple[Floats, Floats]:
    """Chance of reading a message in the inbox, and of clicking once it is read."""
    people, who = customers.population, messages.customer
    liking = people.topics[who, messages.topic]
    local = (messages.sent / HOUR_US + people.utc_offset[who] / 60.0) % 24
    timing = people.habit_strength[who] * np.cos(2 * np.pi * (local - people.habit[who]) / 24)
    wants = -1.2 + 1.0 * messages.interest + 0.4 * liking + 0.9 * timing + messages.quality
    wants -= 0.1 * customers.fatigue[who]
    likes = -2.3 + 0.5 * messages.interest + 0.8 * liking + 0.5 * messages.quality
    return 1 / (1 + np.exp(-wants)), 1 / (1 + np.exp(-likes))


def _delays(customers: Customers, messages: Messages, rows: Ints, rng: np.random.Generator) -> Ints:
    """From delivery to reading."""
    usual = np.exp(rng.normal(np.log(2.5 * 3600), 1.4, len(rows)))
    eager = 8.0 + 50.0 * rng.random(len(rows))
    seconds = np.where(customers.population.eager[messages.customer[rows]], eager, usual)
    return np.minimum((seconds * MICROS).astype(np.int64) + 5 * MICROS, LONGEST_US)


def _opens(
    customers: Customers, messages: Messages, readings: Readings, rng: np.random.Generator
) -> list[Acts]:
    """Opens that are visible: not where images are off, nor where Apple fetched them before."""
    people, who = customers.population, messages.customer[readings.rows]
    shows = people.loads_images[who] & ~people.apple_mail[who]
    again = shows & (rng.random(len(who)) < 0.2)
    provider = people.provider[who]
    agent = np.where(provider == GOOGLE, agents.GMAIL_AT, people.agent[who])
    agent = np.where(provider == YAHOO, agents.YAHOO_AT, agent)
    agent = np.where((people.company[who] >= 0) & (provider != GOOGLE), agents.OUTLOOK_AT, agent)
    host = np.where(
        provider == GOOGLE,
        agents.GMAIL_HOST_AT + rng.integers(0, len(agents.GMAIL_HOSTS), len(who)),
        people.address[who],
    )
    host = np.where(
        provider == YAHOO,
        agents.YAHOO_HOST_AT + rng.integers(0, len(agents.YAHOO_HOSTS), len(who)),
        host,
    )
    maker = np.where(provider == GOOGLE, MAKER[Machine.GMAIL_PROXY], PERSON)
    maker = np.where(provider == YAHOO, MAKER[Machine.YAHOO_PROXY], maker)
    later = (600 + 86_400 * rng.random(len(who))) * MICROS
    blocks = []
    for chosen, at in ((shows, readings.at), (again, readings.at + later.astype(np.int64))):
        rows = readings.rows[chosen]
        blocks.append(
            acts(
                EventType.OPENED,
                len(rows),
                at=at[chosen],
                agent=agent[chosen],
                host=host[chosen],
                maker=maker[chosen],
                **messages.common(rows),
            )
        )
    return blocks


def _clicks(
    customers: Customers, messages: Messages, readings: Readings, rng: np.random.Generator
) -> list[Acts]:
    """Clicks of people: mostly one, and by some several at once in tabs."""
    people, rows = customers.population, readings.rows[readings.clicked]
    who = messages.customer[rows]
    first = rng.integers(0, messages.links[rows])
    at = readings.at[readings.clicked] + _seconds(rng, 18.0, 0.9, len(rows))
    gap = np.where(
        people.tabs[who], 1 + (3 * rng.random(len(rows)) * MICROS).astype(np.int64),
        _seconds(rng, 25.0, 1.0, len(rows)),
    )  # fmt: skip
    more = rng.random(len(rows))
    mobile = rng.random(len(rows)) < 0.15
    host = np.where(
        mobile,
        agents.MOBILE_HOST_AT + rng.integers(0, len(agents.MOBILE_HOSTS), len(rows)),
        people.address[who],
    )
    blocks = []
    for number, below in enumerate((1.0, 0.2, 0.05)):
        chosen = (more < below) | (people.tabs[who] & (number < 3))
        blocks.append(
            acts(
                EventType.CLICKED,
                int(chosen.sum()),
                at=(at + number * gap)[chosen],
                link=((first + number) % messages.links[rows])[chosen],
                agent=np.where(mobile, people.phone[who], people.agent[who])[chosen],
                host=host[chosen],
                maker=PERSON,
                **messages.common(rows[chosen]),
            )
        )
    return blocks


def _partings(
    customers: Customers, messages: Messages, readings: Readings, rng: np.random.Generator
) -> list[Acts]:
    """Unsubscriptions and complaints; after either they are not written to again."""
    draws = rng.random(len(readings.rows))
    tired = 1 / (1 + np.exp(messages.interest[readings.rows]))
    leaves = draws < 0.012 * tired
    inbox = messages.placement[readings.rows] == INBOX
    complains = ~leaves & inbox & (draws > 1 - 0.003 * tired)
    blocks = []
    for kind, chosen in ((EventType.UNSUBSCRIBED, leaves), (EventType.COMPLAINED, complains)):
        rows, at = readings.rows[chosen], readings.at[chosen] + 20 * MICROS
        customers.stop_writing(messages.customer[rows], at)
        why = np.where(rng.random(len(rows)) < 0.6, BY_LINK, BY_HEADER)
        blocks.append(
            acts(
                kind,
                len(rows),
                at=at,
                reason=why if kind is EventType.UNSUBSCRIBED else 0,
                maker=PERSON,
                **messages.common(rows),
            )
        )
    return blocks


def _seconds(rng: np.random.Generator, median: float, spread: float, size: int) -> Ints:
    """Log-normal durations in microseconds."""
    return (np.exp(rng.normal(np.log(median), spread, size)) * MICROS).astype(np.int64)
