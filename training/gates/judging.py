"""All gates of a trained model, in one report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serving.calibrator import FloatArray
from serving.encoder import Columns
from serving.model import ModelUnusable, ScoringModel
from training.dataset import Dataset
from training.fitting import Judged
from training.folds import Split
from training.gates.calibration import calibration_rows
from training.gates.champion import Champion
from training.gates.paired import codes_of
from training.gates.references import judge
from training.gates.report import GateReport, Row, Verdict, joined
from training.gates.rows import comparison_rows, latency_row
from training.gates.sanity import Audit, audit_row, sanity_rows, worth_rows
from training.gates.segments import segment_rows
from training.promotion import Promotion


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """The champion as far as it could be had."""

    #: None: there is none, or it cannot be used.
    champion: Champion | None
    #: Why it cannot be used; empty when it can, or there is none.
    trouble: str = ""


def judge_all(
    dataset: Dataset,
    split: Split,
    judged: Judged,
    audit: Audit,
    rival: Rival,
    promotion: Promotion,
    *,
    seed: int,
    timer: Callable[[], float],
) -> GateReport:
    """The report of every gate; comparisons are left out when there is no champion."""
    test = dataset.take(split.test)
    with np.errstate(invalid="ignore"):
        gate = judge(
            judged.score,
            judged.baseline_score,
            judged.model.base_rate,
            test.label,
            test.customer,
            seed,
            weight=test.weight,
        )
    champion = rival.champion
    sanity = sanity_rows(
        dataset,
        split,
        least_positives=promotion.least_positives,
        champion_rows=champion.rows if champion else None,
    )
    head = [audit_row(audit), *worth_rows(gate), *sanity]
    if not np.all(np.isfinite(judged.score)):
        return joined(head)
    return joined(head, _against(test, judged, rival, promotion, seed, timer))


def _against(
    test: Dataset,
    judged: Judged,
    rival: Rival,
    promotion: Promotion,
    seed: int,
    timer: Callable[[], float],
) -> list[Row]:
    """Calibration, and what needs the champion's scores."""
    champion, margins = rival.champion, promotion.margins
    theirs, row = _champion_scores(test, rival, promotion.least_positives)
    if champion is None or theirs is None:
        alone = calibration_rows(
            judged.score,
            None,
            test.label,
            test.weight,
            codes_of(test.customer),
            margins=margins,
            seed=seed,
        )
        return [row, *alone]
    kept = champion.unseen(test)
    shared, ours, codes = test.take(kept), judged.score[kept], codes_of(test.customer[kept])
    label, weight = shared.label, shared.weight
    return [
        row,
        *calibration_rows(ours, theirs, label, weight, codes, margins=margins, seed=seed),
        *comparison_rows(ours, theirs, label, weight, codes, margins=margins, seed=seed),
        *segment_rows(shared, ours, theirs, codes, margins=margins),
        latency_row(
            _one_by_one(judged.model, shared),
            _one_by_one(champion.model, shared),
            limit=margins.latency,
            timer=timer,
        ),
    ]


def _champion_scores(test: Dataset, rival: Rival, least: int) -> tuple[FloatArray | None, Row]:
    """The champion's scores of the rows it did not learn from, and the row that says how many."""
    champion, limit = rival.champion, f">= {least} of each label that the champion did not see"
    if champion is None:
        if not rival.trouble:
            return None, Row(
                name="champion", verdict=Verdict.SKIPPED, detail="there is no champion yet"
            )
        return None, _unknown(rival.trouble, limit)
    shared = test.take(champion.unseen(test))
    fewest = min(shared.positives, len(shared) - shared.positives)
    if fewest < least:
        words = (
            f"champion {champion.version} learned from the test rows but {len(shared):,}, with "
            f"{fewest} of the rarer label; {least} are needed to compare"
        )
        return None, _unknown(words, limit, float(fewest))
    try:
        scores = champion.score(shared)
    except ModelUnusable as exc:
        return None, _unknown(str(exc), limit)
    words = f"compared with version {champion.version} on {len(shared):,} rows"
    return scores, Row(
        name="champion", verdict=Verdict.PASSED, value=float(fewest), limit=limit, detail=words
    )


def _unknown(detail: str, limit: str, value: float = float("nan")) -> Row:
    return Row(
        name="champion", verdict=Verdict.INCONCLUSIVE, value=value, limit=limit, detail=detail
    )


def _one_by_one(model: ScoringModel, rows: Dataset) -> Callable[[int], object]:
    """Scores one row of these by its number, over and over."""
    columns = {name: (rows.columns | rows.context)[name] for name in model.feature_names}

    def score(number: int) -> FloatArray:
        at = number % len(rows)
        one: Columns = {name: values[at : at + 1] for name, values in columns.items()}
        return model.predict(one)

    return score
