"""Who the customers are: what does not change about them. Column by column, one value each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infra.simulator import agents
from infra.simulator.options import PROVIDERS, Options
from infra.simulator.randomness import Purpose, draw

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

TOPICS: Final = ("garden", "kitchen", "sports", "books", "toys", "outlet")

GOOGLE, MICROSOFT, YAHOO, APPLE, OTHER = range(len(PROVIDERS))

_SHARES: Final = (0.42, 0.20, 0.10, 0.10, 0.18)
_BUSINESS: Final = (0.04, 0.15, 0.0, 0.0, 0.35)
_APPLE_MAIL: Final = (0.22, 0.15, 0.2, 0.9, 0.15)
_IMAGES: Final = (1.0, 0.6, 1.0, 0.9, 0.6)

COUNTRIES: Final = (("GB", 0, 0.35), ("DE", 60, 0.25), ("FR", 60, 0.1), ("US", -300, 0.2),
                    ("PL", 60, 0.05), ("AU", 600, 0.05))  # fmt: skip
"""Country, minutes its clocks are ahead of UTC, share of customers."""

VENDORS: Final = 6
"""Products that scan the mail of companies; see visitors.py for what each does."""

_ARRIVAL_DAYS: Final = 365


@dataclass(frozen=True, slots=True)
class Population:
    """The customers, by their number."""

    size: int
    provider: Ints
    country: Ints
    utc_offset: Ints
    #: Number of the company whose mail system it is, -1: private.
    company: Ints
    #: Scanner of the company, -1: none.
    vendor: Ints
    #: Reads in Apple Mail with Mail Privacy Protection.
    apple_mail: Flags
    loads_images: Flags
    #: Day of joining; below 0: was there before.
    joined: Ints
    #: Day on which interest is lost for good.
    churned: Ints
    #: Interest in the long run.
    trait: Floats
    topics: Floats
    #: Local hour of reading, and how much it matters (0 to 1).
    habit: Floats
    habit_strength: Floats
    spending: Floats
    basket: Floats
    #: Reads within a minute.
    eager: Flags
    #: Opens several links at once in tabs.
    tabs: Flags
    agent: Ints
    phone: Ints
    address: Ints

    @property
    def homes(self) -> int:
        """Number of addresses of homes and offices."""
        return int(self.address.max()) - agents.PEOPLE_AT + 1


def population(options: Options) -> Population:
    """The customers of a programme; the same ones however many days are simulated."""
    n = options.customers
    rng = draw(options.seed, Purpose.POPULATION)
    provider = rng.choice(len(PROVIDERS), n, p=_SHARES)
    country = rng.choice(len(COUNTRIES), n, p=[share for _, _, share in COUNTRIES])
    business = rng.random(n) < np.take(_BUSINESS, provider)
    companies = max(1, n // 40)
    company = np.where(business, rng.integers(0, companies, n), -1)
    vendor_of = np.where(rng.random(companies) < 0.3, rng.integers(0, VENDORS, companies), -1)
    vendor = np.where(business & options.machines, vendor_of[company], -1)
    apple_mail = (rng.random(n) < np.take(_APPLE_MAIL, provider)) & options.machines
    trait = rng.normal(0.0, 0.8, n)
    waits = rng.random(n) < 0.25
    joined = np.where(waits, rng.integers(0, _ARRIVAL_DAYS, n), -1)
    home = agents.PEOPLE_AT + companies + np.arange(n)
    return Population(
        size=n,
        provider=provider,
        country=country,
        utc_offset=np.array([minutes for _, minutes, _ in COUNTRIES])[country],
        company=company,
        vendor=vendor,
        apple_mail=apple_mail,
        loads_images=rng.random(n) < np.take(_IMAGES, provider),
        joined=joined,
        churned=np.maximum(joined, 0) + rng.exponential(700.0, n).astype(np.int64),
        trait=trait,
        topics=rng.normal(0.0, 0.8, (n, len(TOPICS))),
        address=np.where(business, agents.PEOPLE_AT + np.maximum(company, 0), home),
        **_manners(rng, n, trait, apple_mail),
    )


def _manners(rng: np.random.Generator, n: int, trait: Floats, apple: Flags) -> dict[str, Any]:
    """How they read and buy."""
    habit = rng.choice([7.5, 12.5, 20.0], n, p=[0.35, 0.25, 0.4]) + rng.normal(0.0, 1.2, n)
    browser = rng.integers(0, agents.N_BROWSERS, n)
    return {
        "habit": habit % 24,
        "habit_strength": rng.random(n),
        "spending": 0.4 * trait + rng.normal(0.0, 0.9, n),
        "basket": np.exp(rng.normal(3.6, 0.5, n)),
        "eager": rng.random(n) < 0.02,
        "tabs": rng.random(n) < 0.03,
        "agent": browser,
        "phone": np.where(apple, agents.PHONE_AT, browser),
    }
