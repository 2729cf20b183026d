"""The model card: what a person should know of a version, in Markdown, on its page in MLflow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from training.gates.report import Row, Verdict
from training.reading import from_us
from training.result import Trained

LONGEST: Final = 5000
"""Characters of a description in MLflow's tables."""

_SHOWN: Final = (
    ("auc", "AUC"),
    ("average_precision", "average precision"),
    ("log_loss", "log-loss"),
    ("calibration_slope", "calibration slope"),
    ("calibration_ratio", "mean score / rate"),
    ("top_decile_lift", "top-decile lift"),
)


def model_card(trained: Trained) -> str:
    """The card; at most LONGEST characters, the rest is in the run's files."""
    text = "\n".join(
        line
        for part in (_about, _data, _quality, _gates, _audit, _limits)
        for line in (*part(trained), "")
    ).rstrip()
    if len(text) <= LONGEST:
        return text
    ending = "\n\n... the whole card is `model_card.md` of the run."
    return text[: LONGEST - len(ending)] + ending


def _about(trained: Trained) -> Iterator[str]:
    target, judged = trained.decided.target, trained.judged
    declared = ", ".join(f"{key}: {value}" for key, value in target.to_declaration().items())
    yield f"# {target.name}, {trained.prepared.week}"
    yield f"Probability of the target `{{{declared}}}` for one customer at one moment."
    yield ""
    yield f"**Chosen: {judged.chosen.name}.** {judged.reason}"


def _data(trained: Trained) -> Iterator[str]:
    prepared, counts = trained.prepared, trained.prepared.counts()
    dataset, split = prepared.dataset, prepared.split
    yield "## Data"
    yield (
        f"{counts['rows']:,} decisions, {counts['positives']:,} positive, from "
        f"{_day(dataset.at_us.min())} to {_day(dataset.at_us.max())}, as known at "
        f"{_minute(prepared.decided.as_of)}. Fitted and calibrated on "
        f"{counts['development_rows']:,} decisions, judged on {counts['test_rows']:,} from "
        f"{_day(split.test_starts_us)} on ({counts['test_positives']:,} positive); "
        f"{counts['excluded_embargo']:,} between them are in neither, "
        f"{counts['excluded_immature']:,} were too young to judge, "
        f"{counts['excluded_unseen']:,} had hardly any mail that was seen."
    )
    yield f"Dataset `{prepared.dataset_sha256[:12]}`, event log version " + (
        f"{prepared.decided.snapshot.version}."
    )


def _quality(trained: Trained) -> Iterator[str]:
    judged = trained.judged
    ours, base = judged.evaluation.as_dict(), judged.baseline.as_dict()
    yield "## On the test period"
    yield "| metric | model | 95 % interval | baseline |"
    yield "|---|---|---|---|"
    for key, name in _SHOWN:
        bounds = judged.intervals.get(key)
        interval = f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else ""
        yield f"| {name} | {ours[key]:.3f} | {interval} | {base[key]:.3f} |"
    yield "Baseline: logistic regression of recency, frequency and money. Intervals by customer."


def _gates(trained: Trained) -> Iterator[str]:
    gates = trained.gates
    against = f" against version {trained.champion.version}" if trained.champion else ""
    yield f"## Gates{against}: {gates.status}"
    for row in gates.rows:
        if row.name in ("auc", "log_loss", "lift", "score_shift"):
            yield f"- {row.name.replace('_', '-')}: {_numbers(row)} ({row.limit}): {row.verdict}"
    for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.ASKS, Verdict.NOTED):
        for row in gates.of(verdict):
            if row.is_blocking and row.detail:
                yield f"- {verdict}: {row.detail}"
    passed = len(gates.of(Verdict.PASSED))
    yield f"- {passed} of {len(gates.rows)} passed; all rows in `gates.html` of the run"


def _audit(trained: Trained) -> Iterator[str]:
    findings: tuple[Any, ...] = trained.prepared.audit.findings
    yield "## Leakage audit"
    if not findings:
        yield "No finding. Report: `audit.html` of the run."
        return
    for found in findings[:5]:
        yield f"- {found.severity}, {found.feature or 'the rows'}: {found.evidence}"
    yield f"{len(findings)} in all; report: `audit.html` of the run."


def _limits(trained: Trained) -> Iterator[str]:
    yield "## Use and limits"
    yield (
        "For ranking and thresholds over customers like those it was trained on, scored with "
        f"feature service `{trained.judged.model.feature_service}`. The score is a chance, not an "
        "effect: it does not say what a message changes. Levels drift with seasons the log has "
        "not seen; `calibration_ratio` shows it. Tiers: tags `tiers.*` of this version, "
        f"`foresend tiers show {trained.decided.target.name}`."
    )


def _numbers(row: Row) -> str:
    if not math.isfinite(row.lo):
        return f"{row.value:.4g}"
    return f"{row.value:.4g}, bounds {row.lo:.4g} and {row.hi:.4g}"


def _day(us: Any) -> str:
    return from_us(int(us)).date().isoformat()


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
