"""From the columns of a scored batch to the answers of its customers, in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt

from serving.answers import DegradedAnswer, PlacementAnswer, Reasons, ScoreAnswer
from serving.placement import remedy_of
from serving.scoring import iso_epoch

Floats = npt.NDArray[np.float64]


def answer_rows(
    customer_ids: Sequence[str],
    *,
    scores: Iterable[float],
    tiers: Iterable[str | None],
    model_versions: Iterable[str],
    canary: Iterable[bool],
    as_of: Floats,
    send_at: Floats,
    placements: Iterable[PlacementAnswer | None],
    degraded: Iterable[DegradedAnswer | None],
    reasons: Iterable[Reasons | None],
) -> list[ScoreAnswer]:
    """One answer per customer, in order; all others hold one value per customer too."""
    # `map` builds them without a turn of the interpreter each.
    return list(
        map(
            ScoreAnswer,
            customer_ids,
            scores,
            tiers,
            model_versions,
            canary,
            map(iso_epoch, as_of.tolist()),
            _ages(as_of, send_at),
            placements,
            degraded,
            reasons,
        )
    )


def _ages(as_of: Floats, send_at: Floats) -> list[float | None]:
    return [None if age != age else age for age in (send_at - as_of).round(6).tolist()]


def placements(p_inbox_28d: Floats, ghost: Floats) -> Iterable[PlacementAnswer | None]:
    """What is said of each customer's mail."""
    is_known = ~(np.isnan(p_inbox_28d) & np.isnan(ghost))
    if not is_known.any():
        return repeat(None)
    return map(placement_of, p_inbox_28d.tolist(), ghost.tolist())


def placement_of(p_inbox_28d: float, ghost: float) -> PlacementAnswer | None:
    """The `placement` block of an answer; None when nothing is known (both NaN).

    >>> placement_of(0.4, 0.75)
    PlacementAnswer(p_inbox_28d=0.4, ghost=0.75, action=<Remedy.REPAIR: 'repair'>)
    >>> placement_of(float("nan"), float("nan")) is None
    True
    """
    # Only NaN is not itself.
    known_inbox, known_ghost = p_inbox_28d == p_inbox_28d, ghost == ghost
    if not known_inbox and not known_ghost:
        return None
    return PlacementAnswer(
        p_inbox_28d if known_inbox else None, ghost if known_ghost else None, remedy_of(ghost)
    )
