"""One micro-batch from what the store holds to answers: scored, remembered, counted, logged.

Whoever asks for the answers is also given what is to be done once they are sure to be given:
an answer that nobody gets is not remembered, counted or logged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import Final

import numpy as np
import numpy.typing as npt
import structlog

from serving.answer_rows import answer_rows, placements
from serving.answers import Reasons, ScoreAnswer
from serving.batch import Batch
from serving.counts import ScoreCounts
from serving.last_scores import LastScores
from serving.metrics import Metrics
from serving.prediction_log import PredictionBatch, Role
from serving.prediction_writer import PredictionWriter
from serving.predictions import Names, read_batch, unread_batches
from serving.reasons import reasons_of
from serving.scoring import PRIOR, Known, from_last
from serving.served import UNUSABLE, Route, Serving
from serving.shadow import Shadow
from serving.shares import in_share

Floats = npt.NDArray[np.float64]

_MOST_NAMED: Final = 64

Afterwards = list[Callable[[], object]]
"""What remains to be done for scores once they are answered."""

log = structlog.get_logger()


@dataclass
class Scorer:
    """Everything a batch needs that was read. Belongs to one event loop."""

    predictions: PredictionWriter
    last_scores: LastScores
    metrics: Metrics
    shadow: Shadow | None
    #: Whether what is not needed is to be left out.
    is_busy: Callable[[], bool]
    _counts: ScoreCounts = field(init=False)
    _named: dict[tuple[str, str], Names] = field(init=False, default_factory=dict)
    _failed: Serving | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._counts = ScoreCounts(self.metrics)

    def score(
        self, batch: Batch, known: Known, route: Route, afterwards: Afterwards
    ) -> list[ScoreAnswer]:
        """The answers of one target's customers, in order; adds to `afterwards`."""
        challenger = route.challenger
        if challenger is not None and route.canary > 0.0:
            salt, share = route.canary_salt, route.canary
            chosen = [in_share(customer, salt, share) for customer in batch.ids]
            if any(chosen):
                return self._shared(batch, known, route, challenger, chosen, afterwards)
        return self._by(route.champion, batch, known, route, afterwards)

    def _shared(
        self,
        batch: Batch,
        known: Known,
        route: Route,
        challenger: Serving,
        chosen: list[bool],
        afterwards: Afterwards,
    ) -> list[ScoreAnswer]:
        """Some by the challenger, and the others by the champion."""
        canary = [row for row, is_chosen in enumerate(chosen) if is_chosen]
        try:
            answers = self._by(
                challenger, batch.take(canary), known.take(canary), route, afterwards
            )
        except UNUSABLE as exc:
            self._challenger_failed(challenger, exc)
            return self._by(route.champion, batch, known, route, afterwards)
        placed = dict(zip(canary, answers, strict=True))
        others = [row for row, is_chosen in enumerate(chosen) if not is_chosen]
        if others:
            answers = self._by(
                route.champion, batch.take(others), known.take(others), route, afterwards
            )
            placed |= zip(others, answers, strict=True)
        return [placed[row] for row in range(len(chosen))]

    def _challenger_failed(self, challenger: Serving, exc: BaseException) -> None:
        if self._failed is not challenger:
            target, version = challenger.version.target, challenger.version.number
            reason = f"{type(exc).__name__}: {exc}"
            log.error("canary_failed", target=target, version=version, reason=reason)
        self._failed = challenger

    def _by(
        self,
        serving: Serving,
        batch: Batch,
        known: Known,
        route: Route,
        afterwards: Afterwards,
    ) -> list[ScoreAnswer]:
        """All of them by one version."""
        model, policy = serving.model, route.champion.policy
        canary = serving is not route.champion
        matrix = serving.reader.matrix(known.numbers, known.texts)
        scores = model.score_matrix(matrix)
        if not known.found.all():
            scores = np.where(known.found, scores, model.base_rate)
        plain = scores.tolist()
        tiers = [None] * len(plain) if policy is None else policy.tiers(scores)
        answers = answer_rows(
            batch.ids,
            scores=plain,
            tiers=tiers,
            model_versions=repeat(serving.version.number),
            canary=repeat(canary),
            as_of=known.as_of,
            send_at=known.send_at,
            placements=placements(known.p_inbox_28d, known.ghost),
            degraded=known.degraded,
            reasons=self._reasons(serving, batch, known, matrix, scores),
        )
        role, names = Role.CANARY if canary else Role.CHAMPION, self._names(serving)
        rows = read_batch(names, batch, known, matrix, scores, role=role, route=route, tiers=tiers)
        afterwards.append(partial(self._answered, serving, batch, known, route, plain, tiers, rows))
        return answers

    def _answered(
        self,
        serving: Serving,
        batch: Batch,
        known: Known,
        route: Route,
        scores: Sequence[float],
        tiers: Sequence[str | None],
        rows: PredictionBatch,
    ) -> None:
        """Remember, count and log what was answered, and let the challenger score it too."""
        canary = serving is not route.champion
        self._remember(serving, batch, known, scores, canary=canary)
        self._counts.add(route, tiers, known.degraded, known.found, canary=canary)
        self.predictions.add(rows)
        if self.shadow is not None and not canary and route.challenger is not None:
            record = partial(self._record_shadow, batch, known, route)
            self.shadow.offer(route, batch.ids, known.numbers, known.texts, known.found, record)

    def score_without_store(
        self, batch: Batch, route: Route, afterwards: Afterwards
    ) -> list[ScoreAnswer]:
        """The answers when nothing could be read: the last score, else the champion's prior."""
        champion, policy = route.champion, route.champion.policy
        last = self.last_scores.get(champion.version.target, batch.ids)
        prior, version = champion.model.base_rate, champion.version.number
        scores = np.array([prior if one is None else one.score for one in last])
        as_of = np.array([np.nan if one is None else one.as_of for one in last])
        degraded = [PRIOR if one is None else from_last(one, batch.now) for one in last]
        tiers = [None] * len(last) if policy is None else policy.tiers(scores)
        versions = [version if one is None else one.model_version for one in last]
        answers = answer_rows(
            batch.ids,
            scores=scores.tolist(),
            tiers=tiers,
            model_versions=versions,
            canary=[one is not None and one.canary for one in last],
            as_of=as_of,
            send_at=batch.send_at,
            placements=repeat(None),
            degraded=degraded,
            reasons=repeat(None),
        )
        afterwards.append(partial(self._counts.add, route, tiers, degraded, None, canary=False))
        for rows in unread_batches(self._names(champion), batch, route, answers, as_of):
            afterwards.append(partial(self.predictions.add, rows))
        return answers

    def _reasons(
        self, serving: Serving, batch: Batch, known: Known, matrix: Floats, scores: Floats
    ) -> Sequence[Reasons | None] | repeat[None]:
        if batch.reasons is None:
            return repeat(None)
        if self.is_busy():
            left_out = sum(1 for wanted in batch.reasons if wanted)
            self.metrics.scoring.reasons_left_out.inc(left_out)
            return repeat(None)
        return reasons_of(serving.model, known, matrix, scores, batch.reasons)

    def _remember(
        self,
        serving: Serving,
        batch: Batch,
        known: Known,
        scores: Sequence[float],
        *,
        canary: bool,
    ) -> None:
        ids, as_of = batch.ids, known.as_of.tolist()
        if not known.found.all():
            rows = np.flatnonzero(known.found).tolist()
            ids = [ids[row] for row in rows]
            scores, as_of = [scores[row] for row in rows], [as_of[row] for row in rows]
        self.last_scores.put(
            serving.version.target,
            ids,
            scores,
            as_of,
            scored_at=batch.now,
            model_version=serving.version.number,
            canary=canary,
        )

    def _names(self, serving: Serving) -> Names:
        key = (serving.version.target, serving.version.number)
        held = self._named.get(key)
        if held is None or held.serving is not serving:
            if len(self._named) >= _MOST_NAMED:
                self._named.clear()
            held = self._named[key] = Names.of(serving)
        return held

    def _record_shadow(
        self,
        batch: Batch,
        known: Known,
        route: Route,
        challenger: Serving,
        rows: npt.NDArray[np.intp],
        matrix: Floats,
        scores: Floats,
    ) -> None:
        """Called in the shadow's thread."""
        chosen = rows.tolist()
        part, seen = batch.take(chosen), known.take(chosen)
        self.predictions.add(
            read_batch(
                self._names(challenger), part, seen, matrix, scores, role=Role.SHADOW, route=route
            )
        )
