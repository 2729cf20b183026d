"""Where mail lands: the share that reaches the inbox, by sending domain, mailbox provider, day."""

from __future__ import annotations

from typing import Final

import numpy as np

from infra.simulator.options import DOMAINS, PROVIDERS, Options
from infra.simulator.population import Floats
from infra.simulator.randomness import Purpose, draw

_USUAL: Final = (0.96, 0.94, 0.97, 0.98, 0.95)
_PERFECT: Final = 1 - 1e-9


def inbox_rates(options: Options) -> Floats:
    """Array [day, domain, provider]; a day has the same value in a longer simulation.

    Around a usual level of the provider the log-odds wander slowly, unless placement is perfect;
    a collapse replaces either.
    """
    if options.placement == "perfect":
        rates = np.full((options.days, len(DOMAINS), len(PROVIDERS)), _PERFECT)
    else:
        rates = _wandering(options)
    for collapse in options.collapses:
        days = slice(collapse.first_day, collapse.first_day + collapse.days)
        domains = [n for n, name in enumerate(DOMAINS) if collapse.domain in {None, name}]
        rates[days, domains, PROVIDERS.index(collapse.provider)] = collapse.inbox
    return rates


def _wandering(options: Options) -> Floats:
    usual = np.log(np.array(_USUAL) / (1 - np.array(_USUAL)))
    rates = np.empty((options.days, len(DOMAINS), len(PROVIDERS)))
    wander = np.zeros((len(DOMAINS), len(PROVIDERS)))
    for day in range(options.days):
        noise = draw(options.seed, Purpose.PLACEMENT, day).normal(0.0, 1.0, wander.shape)
        wander = 0.9 * wander + 0.12 * noise
        rates[day] = 1 / (1 + np.exp(-(usual + wander)))
    return rates
