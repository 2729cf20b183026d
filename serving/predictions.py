"""What the prediction log is given of a scored batch: references, made into rows when written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.answers import ScoreAnswer
from serving.batch import Batch
from serving.prediction_log import PredictionBatch, Role
from serving.scoring import Known
from serving.served import TEXT_ROWS, Route, Serving

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Names:
    """What a version says of itself in the log. Found once: some models look it up anew."""

    serving: Serving
    feature_service: str
    features: tuple[str, ...]
    texts: tuple[str, ...]
    #: Place of each text in TEXT_ROWS.
    places: tuple[int, ...]

    @classmethod
    def of(cls, serving: Serving) -> Names:
        """The names of a version's model."""
        model = serving.model
        texts = model.categorical
        places = tuple(TEXT_ROWS.index(name) for name in texts)
        return cls(serving, model.feature_service, model.feature_names, texts, places)


def read_batch(
    names: Names,
    batch: Batch,
    known: Known,
    matrix: Floats,
    scores: Floats,
    *,
    role: Role,
    route: Route,
    tiers: Sequence[str | None] | None = None,
) -> PredictionBatch:
    """Rows of a batch that a version scored; `tiers` None: none was answered."""
    serving = names.serving
    policy = None if tiers is None else route.champion.policy
    return PredictionBatch(
        scored_at=batch.now,
        target=serving.version.target,
        model_version=serving.version.number,
        feature_service=names.feature_service,
        feature_names=names.features,
        text_names=names.texts,
        role=role,
        customers=batch.customers,
        request_ids=batch.request_ids,
        send_at=batch.send_at,
        scores=scores,
        as_of=known.as_of,
        degraded=known.degraded,
        features=matrix,
        texts=[known.texts[place] for place in names.places],
        modelled=known.found,
        tiers=tiers,
        tier_policy=None if policy is None else policy.model_version,
        # Copies, because these are rows of a larger matrix that is then let go.
        p_inbox_28d=known.p_inbox_28d.copy(),
        ghost=known.ghost.copy(),
    )


def unread_batches(
    names: Names, batch: Batch, route: Route, answers: Sequence[ScoreAnswer], as_of: Floats
) -> list[PredictionBatch]:
    """Rows of a batch of which nothing was read, by the version whose score was answered.

    `names` are the champion's.
    """
    by_version: dict[tuple[str, bool], list[int]] = {}
    for row, answer in enumerate(answers):
        by_version.setdefault((answer.model_version, answer.canary), []).append(row)
    policy = route.champion.policy
    return [
        PredictionBatch(
            scored_at=batch.now,
            target=route.champion.version.target,
            model_version=version,
            feature_service=names.feature_service,
            feature_names=names.features,
            text_names=names.texts,
            role=Role.CANARY if canary else Role.CHAMPION,
            customers=[batch.customers[row] for row in rows],
            request_ids=[batch.request_ids[row] for row in rows],
            send_at=batch.send_at[rows],
            scores=np.array([answers[row].score for row in rows]),
            as_of=as_of[rows],
            degraded=[answers[row].degraded for row in rows],
            tiers=[answers[row].tier for row in rows],
            tier_policy=None if policy is None else policy.model_version,
        )
        for (version, canary), rows in by_version.items()
    ]
