"""Random numbers that depend on seed, purpose and day alone, so that days can be added."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What numbers are drawn for; each has a stream of its own."""

    POPULATION = 1
    INTEREST = 2
    CALENDAR = 3
    PLACEMENT = 4
    SENDING = 5
    READING = 6
    VISITORS = 7
    SHOPPING = 8
    ARRIVAL = 9
    READINGS = 10
    CORRECTIONS = 11


def draw(seed: int, purpose: Purpose, day: int = 0) -> np.random.Generator:
    """The stream of a purpose and a day.

    >>> draw(1, Purpose.READING, 3).random() == draw(1, Purpose.READING, 3).random()
    True
    """
    return np.random.default_rng([seed, purpose.value, day])
