"""How the customers are today: interest that drifts, and who may still be written to."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import numpy as np

from infra.simulator.population import Flags, Floats, Ints, Population
from infra.simulator.randomness import Purpose, draw

DAY_US: Final = int(timedelta(days=1) / timedelta(microseconds=1))
NEVER: Final = 2**62

_MEMORY: Final = 0.97
"""Share of a deviation from the long run that is left a day later: half of it after 23 days."""

_DRIFT: Final = 0.2
_LOSS: Final = 3.5
"""What interest falls by, over a month, when a customer is lost."""


class Customers:
    """The changing side of a population; `begin` moves it to the next day."""

    def __init__(self, seed: int, population: Population, start_us: int) -> None:
        self.seed = seed
        self.population = population
        #: Today's interest, log-odds.
        self.interest: Floats = population.trait.copy()
        #: Messages got lately, halved every three days.
        self.fatigue: Floats = np.zeros(population.size)
        self._start_us = start_us
        self._deviation: Floats = np.zeros(population.size)
        self._stopped: Ints = np.full(population.size, NEVER)
        self._day = -1

    def begin(self, day: int) -> None:
        """Move on to this day, the one after the last."""
        noise = draw(self.seed, Purpose.INTEREST, day).normal(0.0, _DRIFT, self.population.size)
        self._deviation = _MEMORY * self._deviation + noise
        since = np.clip((day - self.population.churned) / 30.0, 0.0, 1.0)
        self.interest = self.population.trait + self._deviation - _LOSS * since
        self.fatigue *= 0.8
        self._day = day

    def may_be_written_to(self, at_us: int) -> Flags:
        """Joined, and not unsubscribed or bounced for good before that time."""
        return (self.population.joined < self._day) & (self._stopped > at_us)

    def is_gone(self) -> Flags:
        """Lost so long ago that the mailbox may be closed."""
        return self._day > self.population.churned + 120

    def stop_writing(self, customers: Ints, at_us: Ints) -> None:
        """From then on they are not written to."""
        np.minimum.at(self._stopped, customers, at_us)

    def wrote(self, customers: Ints) -> None:
        """They got one message more."""
        np.add.at(self.fatigue, customers, 1.0)

    def stopped(self, customers: Ints) -> Ints:
        """From when on they are not written to; NEVER."""
        return self._stopped[customers]
