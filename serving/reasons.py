"""Why scores are what they are, for the customers who asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_repo import contract
from serving.answers import Reason, Reasons
from serving.online.stored import VIEW_OF
from serving.scoring import Known
from serving.served import TEXT_ROWS, Model, Texts
from serving.store import VIEWS

Floats = npt.NDArray[np.float64]

MOST: Final = 20
"""Reasons of one score at most."""


@dataclass(frozen=True, slots=True)
class _Features:
    """Where a model's features come from."""

    names: tuple[str, ...]
    #: Place of each feature's view in VIEWS; what is computed at the send is of the activity.
    views: list[int]
    #: Place of a feature's text in TEXT_ROWS, for the text features by their own place.
    texts: dict[int, int]


@lru_cache(maxsize=32)
def _features(names: tuple[str, ...], texts: tuple[str, ...]) -> _Features:
    places = [VIEWS.index(VIEW_OF.get(name, contract.ACTIVITY)) for name in names]
    return _Features(
        names,
        places,
        {names.index(name): TEXT_ROWS.index(name) for name in texts},
    )


def reasons_of(
    model: Model, known: Known, matrix: Floats, scores: Floats, wanted: Sequence[int]
) -> list[Reasons | None]:
    """Of each customer as many reasons as wanted, the strongest first; None where none are.

    `matrix` is (customers, features) as the model read it. A score that no model computed has no
    reasons. A feature that adds nothing is no reason, so there may be fewer.
    """
    told: list[Reasons | None] = [None] * len(scores)
    rows = [row for row, found in enumerate(known.found.tolist()) if found and wanted[row] > 0]
    if not rows:
        return told
    explanation = model.explain(matrix[rows])
    points = explanation.points
    bases = np.broadcast_to(np.asarray(explanation.base, dtype=np.float64), len(rows)).tolist()
    strongest = np.argsort(-np.abs(points), axis=1, kind="stable")[:, :MOST]
    strengths = np.take_along_axis(points, strongest, axis=1).tolist()
    ages = (known.send_at[rows] - known.view_known_at[:, rows]).T.round(6).tolist()
    features = _features(model.feature_names, model.categorical)
    for place, row in enumerate(rows):
        chosen = zip(strongest[place, : wanted[row]].tolist(), strengths[place], strict=False)
        values = matrix[row]
        top = [
            _reason(features, known.texts, row, feature, values.item(feature), added, ages[place])
            for feature, added in chosen
            if added != 0.0
        ]
        rest = float(scores[row]) - bases[place] - sum(reason.points for reason in top)
        told[row] = Reasons(bases[place], top, rest, explanation.method)
    return told


def _reason(
    features: _Features,
    texts: Sequence[Texts],
    row: int,
    feature: int,
    value: float | str | None,
    points: float,
    ages: Sequence[float],
) -> Reason:
    text = features.texts.get(feature)
    if text is not None:
        value = texts[text][row]
    age_s = ages[features.views[feature]]
    return Reason(
        features.names[feature],
        # Only NaN is not itself.
        value if value == value else None,
        points,
        age_s if age_s == age_s else None,
    )
