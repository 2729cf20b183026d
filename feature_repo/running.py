"""Running folds of many stretches of values at once, strictly in order."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_FEW: Final = 8
"""Below so many stretches, each is folded on its own instead of position by position."""


def scan(
    ufunc: np.ufunc,
    values: npt.NDArray[np.float64],
    starts: npt.NDArray[np.int64],
    initial: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """What every stretch of `values` has come to at each of its places.

    `values` has a line per quantity; stretch s begins at column `starts[s]`, continues from
    `initial[:, s]` and ends where the next one begins. Each result is
    `ufunc(result before, value)`: the order of operations, and so every bit, is that of a plain
    loop. All stretches advance together, position by position, as long as there are more than a
    few; the long rest of the others is folded one by one.

    >>> scan(np.add, np.array([[1.0, 2.0, 5.0]]), np.array([0, 2]), np.array([[0.0, 10.0]]))
    array([[ 1.,  3., 15.]])
    """
    running = np.empty_like(values)
    lengths = np.diff(starts, append=values.shape[1])
    longest_first = np.argsort(-lengths, kind="stable")
    starts, lengths = starts[longest_first], lengths[longest_first]
    state = initial[:, longest_first]
    alive = np.searchsorted(-lengths, -np.arange(1, lengths.max(initial=0) + 1), side="right")
    together = int(np.searchsorted(-alive, -_FEW, side="right"))
    for position, count in enumerate(alive[:together]):
        at = starts[:count] + position
        state = ufunc(state[:, :count], values[:, at])
        running[:, at] = state
    for stretch in range(int(alive[together]) if together < alive.size else 0):
        rest = slice(starts[stretch] + together, starts[stretch] + lengths[stretch])
        line = np.concatenate([state[:, stretch : stretch + 1], values[:, rest]], axis=1)
        running[:, rest] = ufunc.accumulate(line, axis=1)[:, 1:]
    return running
