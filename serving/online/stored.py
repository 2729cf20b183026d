"""What the feature store holds of some customers, in the order they were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_repo import contract
from feature_repo.online_codec import Floats, Layout, Texts

LAST_EVENT_AT: Final = "last_event_at"


def scoring_layout(project: str) -> Layout:
    """The stored columns that scoring reads: those of the models, and the newest event's time."""
    views = dict(contract.ONLINE_COLUMNS)
    names = (*views[contract.ACTIVITY], LAST_EVENT_AT)
    return Layout(project, {**views, contract.ACTIVITY: tuple(dict.fromkeys(names))})


_LAYOUT: Final = scoring_layout("")

VIEWS: Final[tuple[str, ...]] = tuple(_LAYOUT.views)
"""Views in the order of `Stored.view_known_at`."""

NUMBERS: Final[tuple[str, ...]] = tuple(name for _, name in _LAYOUT.numbers)
"""Stored Float64 columns in the order of `Stored.numbers`."""

TEXTS: Final[tuple[str, ...]] = tuple(name for _, name in _LAYOUT.words)
"""Stored text columns in the order of `Stored.texts`."""

VIEW_OF: Final[Mapping[str, str]] = {
    name: view for view, name in (*_LAYOUT.numbers, *_LAYOUT.words)
}
"""The view of each stored column."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds of some customers, in the order they were asked for."""

    #: (len(NUMBERS), customers) in C order; NaN where nothing is known.
    numbers: Floats
    #: One array of str per name of TEXTS; None where nothing is known.
    texts: tuple[Texts, ...]
    #: Knowledge time of the newest view, epoch seconds; NaN when there is none.
    known_at: Floats
    #: (len(VIEWS), customers): knowledge time of each view, epoch seconds; NaN: no row.
    view_known_at: Floats
    #: Whether any view has a row of the customer.
    found: npt.NDArray[np.bool_]
    #: How far the whole store is complete; None: it does not say.
    through: datetime | None

    @property
    def columns(self) -> Mapping[str, Floats | Texts]:
        """The same by name, made anew at each call: for paths that are not hot."""
        return {
            **dict(zip(NUMBERS, self.numbers, strict=True)),
            **dict(zip(TEXTS, self.texts, strict=True)),
        }
