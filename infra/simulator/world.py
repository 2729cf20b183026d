"""The programme day by day: what happens, when we hear of it, and what is true of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from infra.simulator.acts import Acts, joined, size
from infra.simulator.arrival import LONGEST, Arrivals, arrive, to_us, within
from infra.simulator.campaigns import PER_DAY, Campaign, campaigns
from infra.simulator.customers import DAY_US, Customers
from infra.simulator.options import Options
from infra.simulator.placement import inbox_rates
from infra.simulator.population import Flags, Population, population
from infra.simulator.reading import Readings, read
from infra.simulator.rows import Renderer
from infra.simulator.sending import Messages, send
from infra.simulator.shopping import shop
from infra.simulator.visitors import visit


@dataclass(frozen=True, slots=True)
class Day:
    """What began on one day: its messages and visits, with all that followed from them."""

    number: int
    calendar: list[Campaign]
    #: Canonical events in the order they arrive, repeated ones too (EVENTS schema).
    events: pa.Table
    #: One row per event of which something arrives (rows.TRUTH).
    truth: pa.Table
    #: For each row of `events`: it puts right what an earlier one said.
    repairs: Flags


class World:
    """A programme. Its days come in order and once."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.population: Population = population(options)
        self.rates = inbox_rates(options)
        self._renderer = Renderer(options, self.population)

    def days(self) -> Iterator[Day | None]:
        """Each day; None for one of which nothing can arrive in the time that is asked for."""
        options, start_us = self.options, to_us(self.options.start)
        customers = Customers(options.seed, self.population, start_us)
        for number in range(options.days):
            customers.begin(number)
            day_us = start_us + number * DAY_US
            calendar = campaigns(options, number)
            block = _day(customers, calendar, day_us, self, number)
            if options.since is not None and day_us + _LONGEST_US < to_us(options.since):
                yield None
                continue
            if options.until is not None and day_us > to_us(options.until):
                return
            yield self._rendered(number, calendar, block)

    def _rendered(self, number: int, calendar: list[Campaign], block: Acts) -> Day:
        said, everything = arrive(self.options, block, number)
        arrivals = within(self.options, everything)
        ids = self._renderer.event_ids(number, arrivals.row)
        events = self._renderer.events(said, arrivals, ids)
        truth = self._truth(number, block, arrivals)
        return Day(number, calendar, events, truth, arrivals.repairs)

    def _truth(self, number: int, block: Acts, arrivals: Arrivals) -> pa.Table:
        rows = np.unique(arrivals.row)
        retracted = np.isin(rows, arrivals.row[arrivals.retracts])
        chosen = {name: values[rows] for name, values in block.items()}
        return self._renderer.truth(chosen, retracted, self._renderer.event_ids(number, rows))


_LONGEST_US: Final = LONGEST // timedelta(microseconds=1)


def _day(
    customers: Customers, calendar: list[Campaign], day_us: int, world: World, number: int
) -> Acts:
    """All acts that follow from what begins on this day, in one order for ever."""
    messages, reports = send(customers, calendar, day_us, world.rates[number])
    readings, answers = read(customers, messages, number)
    visits = visit(customers, messages, number) if world.options.machines else []
    visits += shop(customers, messages, readings, number, day_us)
    return _with_chances(joined([*reports, *answers, *visits]), messages, readings, customers)


def _with_chances(block: Acts, messages: Messages, readings: Readings, who: Customers) -> Acts:
    """The acts with the chance of a click of the message each is about."""
    chance = np.full((PER_DAY, who.population.size), -1.0)
    chance[messages.campaign % PER_DAY, messages.customer] = readings.click_p
    found = chance[block["campaign"].astype(np.int64) % PER_DAY, block["customer"]]
    about = block["campaign"].astype(np.int64) >= 0
    return block | {"click_p": np.where(about, found, -1.0)} if size(block) else block
