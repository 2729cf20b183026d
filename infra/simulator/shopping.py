"""What customers do in the shop: look around, buy, send back; and those who join."""

from __future__ import annotations

import numpy as np

from feature_repo.event import MICROS, EventType
from infra.simulator.acts import PERSON, SYSTEM, Acts, acts
from infra.simulator.customers import DAY_US, Customers
from infra.simulator.population import Ints
from infra.simulator.randomness import Purpose, draw
from infra.simulator.reading import Readings
from infra.simulator.sending import HOUR_US, Messages

_CENT = MICROS // 100


def shop(
    customers: Customers, messages: Messages, readings: Readings, day: int, day_us: int
) -> list[Acts]:
    """A day's visits to the shop: after clicks, and on their own."""
    rng = draw(customers.seed, Purpose.SHOPPING, day)
    people = customers.population
    rows = readings.rows[readings.clicked]
    after = messages.customer[rows], readings.at[readings.clicked] + 60 * MICROS
    here = (people.joined < day) & (day < people.churned)
    alone_p = 0.02 * np.exp(0.5 * np.clip(customers.interest, -3.0, 2.0))
    visitors = np.flatnonzero(here & (rng.random(people.size) < alone_p))
    hour = (people.habit[visitors] + rng.normal(0.0, 3.0, len(visitors))) % 24
    local = (hour * HOUR_US).astype(np.int64) - people.utc_offset[visitors] * 60 * MICROS
    alone = visitors, day_us + local % DAY_US
    who = np.concatenate([after[0], alone[0]])
    at = np.concatenate([after[1], alone[1]])
    return [
        _joining(customers, day, day_us, rng),
        *_browsing(customers, who, at, rng),
        *_buying(customers, who, at, rng),
    ]


def _joining(customers: Customers, day: int, day_us: int, rng: np.random.Generator) -> Acts:
    rows = np.flatnonzero(customers.population.joined == day)
    return acts(
        EventType.SUBSCRIBED,
        len(rows),
        customer=rows,
        at=day_us + rng.integers(0, DAY_US, len(rows)),
        maker=PERSON,
    )


def _browsing(customers: Customers, who: Ints, at: Ints, rng: np.random.Generator) -> list[Acts]:
    """Up to four pages of a visit."""
    people = customers.population
    pages = 1 + rng.poisson(0.8, len(who))
    gap = (20 + 100 * rng.random(len(who))) * MICROS
    return [
        acts(
            EventType.BROWSED,
            int((pages > page).sum()),
            customer=who[pages > page],
            at=(at + (page * gap).astype(np.int64))[pages > page],
            agent=people.agent[who[pages > page]],
            host=people.address[who[pages > page]],
            link=rng.integers(0, 50, int((pages > page).sum())),
            maker=PERSON,
            interest=customers.interest[who[pages > page]],
        )
        for page in range(4)
    ]


def _buying(customers: Customers, who: Ints, at: Ints, rng: np.random.Generator) -> list[Acts]:
    """Purchases of a visit, and what is sent back of them days later."""
    people = customers.population
    buys = rng.random(len(who)) < 0.15 * np.exp(0.5 * np.clip(people.spending[who], -2.5, 2.5))
    buyer, moment = (
        who[buys],
        at[buys] + (300 * rng.random(int(buys.sum())) * MICROS).astype(np.int64),
    )
    value = people.basket[buyer] * np.exp(rng.normal(0.0, 0.4, len(buyer)))
    micros = np.maximum(100, np.round(value * 100)).astype(np.int64) * _CENT
    returned = rng.random(len(buyer)) < 0.06
    part = np.where(rng.random(len(buyer)) < 0.6, 1.0, 0.4)
    back = np.maximum(1, np.round(micros * part / _CENT)).astype(np.int64) * _CENT
    wait = ((2 + 18 * rng.random(len(buyer))) * DAY_US).astype(np.int64)
    interest = customers.interest[buyer]
    return [
        acts(
            EventType.PURCHASED, len(buyer), customer=buyer, at=moment, micros=micros,
            agent=people.agent[buyer], host=people.address[buyer], maker=PERSON, interest=interest,
        ),
        acts(
            EventType.REFUNDED, int(returned.sum()), customer=buyer[returned],
            at=(moment + wait)[returned], micros=back[returned], maker=SYSTEM,
            interest=interest[returned],
        ),
    ]  # fmt: skip
