"""A window of predictions: the newest one of each customer.

One row per customer, because a customer who is scored fifty times would count as fifty independent
observations, and every noise floor would be far too low.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Values: TypeAlias = npt.NDArray[Any]
Mask: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Predictions of `[end - days, end)`; arrays have one row per customer, in the same order.

    The newest prediction of a customer in the window is also the newest in every shorter window
    with the same end that it lies in, so a shorter window is a selection of these rows.
    """

    days: int
    end: datetime
    #: Times of all predictions of the window, epoch seconds, before one per customer was kept.
    every_at: npt.NDArray[np.float64]
    #: Times of the customers' newest predictions that came without features.
    bare_at: npt.NDArray[np.float64]
    scored_at: npt.NDArray[np.float64]
    model_version: npt.NDArray[np.object_]
    score: npt.NDArray[np.float64]
    #: By name, as the model saw them. A row of a model version without the feature is in `absent`.
    features: Mapping[str, Values]
    #: Rows that lack a feature since their model version has none such; only features with any.
    absent: Mapping[str, Mask]
    #: Only every so-many-th customer was kept, because there are too many to hold.
    one_in: int = 1

    @property
    def start(self) -> datetime:
        """First moment of the window."""
        return self.end - timedelta(days=self.days)

    @property
    def rows(self) -> int:
        """Predictions in the window."""
        return len(self.every_at)

    @property
    def customers(self) -> int:
        """Customers with a prediction made from features."""
        return len(self.score)

    @property
    def without_features(self) -> int:
        """Customers whose newest prediction was made without features."""
        return len(self.bare_at)

    @property
    def columns(self) -> dict[str, Values]:
        """Each feature's values over the rows that have it; left out when none has."""
        held = {
            name: values[~self.absent[name]] if name in self.absent else values
            for name, values in self.features.items()
        }
        return {name: values for name, values in held.items() if len(values)}

    def scores_of(self, version: str) -> npt.NDArray[np.float64]:
        """Scores that a model version gave."""
        mask: Mask = np.equal(self.model_version, version).astype(np.bool_)
        return self.score[mask]

    def other_versions(self, version: str) -> Mapping[str, int]:
        """Rows per model version other than this one."""
        counts = Counter(self.model_version.tolist())
        return {name: count for name, count in counts.items() if name != version}

    def last(self, days: int) -> Window:
        """The window of the last `days` days, with the same end."""
        if days >= self.days:
            return self
        since = (self.end - timedelta(days=days)).timestamp()
        kept = self.scored_at >= since
        return replace(
            self,
            days=days,
            every_at=self.every_at[self.every_at >= since],
            bare_at=self.bare_at[self.bare_at >= since],
            scored_at=self.scored_at[kept],
            model_version=self.model_version[kept],
            score=self.score[kept],
            features={name: values[kept] for name, values in self.features.items()},
            absent={name: mask[kept] for name, mask in self.absent.items()},
        )
