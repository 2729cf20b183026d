"""Replay: with the future deleted, or with one made up, features come out the same to the bit."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.audit.evidence import Evidence, Replay
from training.audit.finding import Check, Finding, Severity, not_checked
from training.audit.knowledge import by_label, same

NAME: Final = "truncated replay"
ASKS: Final = "Does deleting or changing what came after a row's time change its features?"

_HOW: Final = {
    "truncated": "recomputed from a log without anything received after the row's time",
    "poisoned": "recomputed with a click and a purchase made up one second after the row's time",
}


def check(evidence: Evidence) -> Check:
    """Bit-equality of each replay with the dataset."""
    if not evidence.replays:
        return not_checked(NAME, ASKS, "No log was given to replay.")
    numbers: dict[str, float] = {}
    findings: list[Finding] = []
    for replay in evidence.replays:
        compared = [name for name in replay.columns if name in evidence.dataset.columns]
        numbers[f"{replay.kind}: rows"] = len(replay.rows)
        numbers[f"{replay.kind}: values compared"] = len(replay.rows) * len(compared)
        found = [f for name in compared for f in _differing(evidence, replay, name)]
        numbers[f"{replay.kind}: features that differ"] = len(found)
        findings += found
    return Check(
        name=NAME,
        asks=ASKS,
        numbers=numbers,
        findings=tuple(findings),
        note="A sample of customers by hash, one row of each.",
    )


def _differing(evidence: Evidence, replay: Replay, name: str) -> list[Finding]:
    held, label = evidence.dataset.columns[name][replay.rows], evidence.dataset.label[replay.rows]
    wrong = ~same(held, replay.columns[name])
    if not wrong.any():
        return []
    numbers = by_label(wrong, label) | {"label_gap_z": _gap(wrong, label)}
    first = int(np.flatnonzero(wrong)[0])
    lean = (
        "more often where the label is 1 than chance allows, the mark of a leak"
        if numbers["label_gap_z"] > 3
        else "about as often for both labels, which a stale table does as well"
        if abs(numbers["label_gap_z"]) <= 3
        else "more often where the label is 0 than chance allows"
    )
    text = (
        f"{int(wrong.sum()):,} of {len(wrong):,} values differ when {_HOW[replay.kind]}: "
        f"{numbers['share_of_label_1']:.1%} of rows with label 1 and "
        f"{numbers['share_of_label_0']:.1%} with label 0, {lean}. For example "
        f"{_word(held, first)} in the rows, {_word(replay.columns[name], first)} recomputed."
    )
    return [
        Finding(
            feature=name,
            kind="changes with the future",
            severity=Severity.CRITICAL,
            evidence=text,
            numbers=numbers,
            cure=(
                "Compute it from what was received by the row's time alone, not at labelling "
                "time or over the whole log. If the tables are ours and lag or were changed: "
                "`foresend features build --full`."
            ),
        )
    ]


def _gap(wrong: npt.NDArray[np.bool_], label: npt.NDArray[np.int8]) -> float:
    """Standard score of the difference in the share of wrong rows, label 1 minus label 0."""
    ones, zeros = wrong[label == 1], wrong[label == 0]
    if not len(ones) or not len(zeros):
        return 0.0
    pooled = float(wrong.mean())
    error = np.sqrt(pooled * (1 - pooled) * (1 / len(ones) + 1 / len(zeros)))
    return float((ones.mean() - zeros.mean()) / error) if error > 0 else 0.0


def _word(values: npt.NDArray[Any], row: int) -> str:
    value = values[row]
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
