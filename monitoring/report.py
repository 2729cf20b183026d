"""The drift report of a target: reads, judges, draws, and leaves one folder.

{reports}/{target}/{YYYYmmddTHHMMSS}/index.html      the page to open first
                                     evidently.html  Evidently's pictures
                                     verdict.json    the same verdict for programs
{reports}/{target}/latest                            the name of the newest folder
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import pandas as pd

from feature_repo.config import load_config
from feature_repo.errors import ConfigError
from feature_repo.settings import Settings
from monitoring.champion import read_champion
from monitoring.drawn import Drawn
from monitoring.drift import ALERT_QPSI, Finding
from monitoring.errors import ReportNotWritten
from monitoring.evidently_report import SCORE, write_evidently
from monitoring.page import render
from monitoring.predictions import read_window
from monitoring.verdict import Verdict, as_json, judge

PAGE: Final = "index.html"
EVIDENTLY: Final = "evidently.html"
VERDICT: Final = "verdict.json"
LATEST: Final = "latest"
LONGEST_DAYS: Final = 3650

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DriftReport:
    """A verdict and the folder it was written to."""

    verdict: Verdict
    folder: Path
    #: The content of verdict.json.
    document: Mapping[str, Any]


def report_drift(
    settings: Settings,
    target: str,
    *,
    days: int,
    as_of: datetime,
    clock: Callable[[], datetime],
    say: Say,
) -> DriftReport:
    """Compare the predictions of `[as_of - days, as_of)` with the launch of the champion.

    Raises:
        ConfigError: the target is not declared, or `days` is out of range.
        NotReady: there is no champion, no launch profile, or no prediction in the window.
        StoreUnavailable: MLflow does not answer.
    """
    load_config(settings).target(target)
    if not 1 <= days <= LONGEST_DAYS:
        message = f"--window has value {days}; it is a number of days from 1 to {LONGEST_DAYS}."
        raise ConfigError(message)
    say("reading the champion's launch profile")
    launch = read_champion(settings, target)
    say("reading predictions")
    window = read_window(
        settings,
        target,
        tuple(launch.profile.features),
        days=days,
        end=as_of,
        champion=launch.model_version,
    )
    say(f"comparing {window.customers} customers with launch")
    verdict = judge(launch, window)
    say("drawing")
    return write_report(settings.reports_path / target, verdict, now=clock())


def write_report(parent: Path, verdict: Verdict, *, now: datetime) -> DriftReport:
    """Write the folder of a verdict under `parent`; it appears whole or not at all."""
    folder = _free(parent, f"{now.astimezone(UTC):%Y%m%dT%H%M%S}")
    part = parent / f".part-{uuid.uuid4().hex}"
    part.mkdir(parents=True)
    try:
        drawn, note = _draw(part / EVIDENTLY, verdict)
        document = as_json(verdict) | {
            "written_at": now.astimezone(UTC).isoformat(),
            "report": str(folder / PAGE),
            "evidently": None if drawn is None else str(folder / EVIDENTLY),
            "not_drawn": {} if drawn is None else {e.name: e.reason for e in drawn.excluded},
        }
        text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
        (part / PAGE).write_text(render(verdict, drawn, note=note), encoding="utf-8")
        (part / VERDICT).write_text(text + "\n", encoding="utf-8")
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    pointer = parent / f".{LATEST}-{uuid.uuid4().hex}"
    pointer.write_text(folder.name + "\n")
    os.replace(pointer, parent / LATEST)
    return DriftReport(verdict, folder, document)


def _free(parent: Path, name: str) -> Path:
    """A folder name that is not taken: two reports in one second get two folders."""
    folder, count = parent / name, 1
    while folder.exists():
        count += 1
        folder = parent / f"{name}-{count}"
    return folder


def _draw(path: Path, verdict: Verdict) -> tuple[Drawn | None, str | None]:
    """The Evidently report, or why there is none. The verdict stands without it."""
    sample = verdict.launch.sample
    if not sample:
        return None, "The champion was registered without a launch sample to draw."
    window = verdict.asked.window
    by_time = window.scored_at.argsort(kind="stable")
    whole = {n: values[by_time] for n, values in window.features.items() if n not in window.absent}
    current = pd.DataFrame({**whole, SCORE: window.score[by_time]})
    try:
        return write_evidently(path, _frame(sample), current, _thresholds(verdict)), None
    except ReportNotWritten as exc:
        return None, str(exc)


def _frame(columns: Mapping[str, npt.NDArray[Any]]) -> pd.DataFrame:
    return pd.DataFrame(dict(columns))


def _thresholds(verdict: Verdict) -> dict[str, float]:
    """The qPSI from which each column counts as drifted: the score first, then as judged."""
    findings = (verdict.asked.score, *verdict.asked.features)
    return {finding.name: _threshold(finding) for finding in findings}


def _threshold(finding: Finding) -> float:
    floor = 0.0 if finding.movement is None else finding.movement.qpsi_floor
    return max(ALERT_QPSI, floor)
