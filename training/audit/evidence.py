"""What an audit looks at: the rows, and what the log and the feature tables say about them.

Arrays are aligned with the dataset unless they come with `rows`, positions in the dataset. What is
absent (None, or empty) is reported as not checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from training.dataset import Columns, Dataset
from training.folds import Split

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[np.int8]
Mask: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A stored view: its rows' times, and what it held for each training row at that row's time."""

    view: str
    feature_rows: int
    #: Feature rows stamped with a time at which nothing of that customer was received (a midnight
    #: for views that change at midnights).
    unfounded: int
    #: Training rows for which a row of the view was known.
    found: int
    #: Training rows whose row would be another one if created_timestamp were not looked at.
    prevented: int
    #: Microseconds from the freshest used row's later time to the training row; never negative.
    least_age_us: int
    #: Training rows whose values were compared, and the values known at their time.
    rows: Ints
    columns: Columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bound that the log puts on a feature: what was received by then allows no other value."""

    feature: str
    #: One per row, NaN without a bound.
    bound: Floats
    #: True: the value is at most the bound; False: at least.
    is_upper: bool
    #: What the bound is, in words.
    says: str
    #: True: the feature is an age, hence read at a time; False: it counts events.
    is_age: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Features of some rows, recomputed from a log in which the future was changed."""

    #: "truncated": nothing received after the row's time; "poisoned": events made up after it.
    kind: str
    rows: Ints
    columns: Columns


@dataclass(frozen=True, slots=True, kw_only=True)
class ByEventTime:
    """Features of some rows, had every event been known the moment it happened."""

    rows: Ints
    columns: Columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When label events happened around each row, in microseconds since the Unix epoch."""

    #: The nearest one after the row that could be its label, whatever the horizon; NaN: none.
    next_event_us: Floats
    #: Such events are known up to here.
    observed_until_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is audited."""

    target: str
    dataset: Dataset
    split: Split
    horizon_us: int
    #: How late label events reach us.
    grace_us: int
    seed: int = 0
    #: Features that hold text.
    texts: tuple[str, ...] = ()
    #: Whether a customer is asked about once per time, as on a weekly spine.
    is_grid: bool = True
    sources: tuple[Source, ...] = ()
    limits: tuple[Limit, ...] = ()
    replays: tuple[Replay, ...] = ()
    by_event_time: ByEventTime | None = None
    timing: Timing | None = None
    #: How the evidence was collected: what was sampled.
    notes: tuple[str, ...] = ()
