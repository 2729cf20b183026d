"""Real purchases at several cut dates: the model beside recency, frequency and money, regressed.

Each cut is a training of its own on what was known then; both are judged on the same last,
untouched rows. Differences and slopes come with 95 % intervals over draws of customers. `ours` and
`baseline` are the mean log-losses over the cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from feature_repo.history.build import build
from feature_repo.ingest.importer import import_files
from feature_repo.ingest.known_at import parse_known_at
from feature_repo.ingest.mapping import load_mapping
from feature_repo.ingest.shipped import shipped_dataset
from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.targets import Target, target_from
from training.dataset import Dataset
from training.evaluation import log_losses
from training.fitting import Judged, fit_and_judge
from training.folds import split
from training.gates.paired import Ranking, codes_of, draws
from training.intervals import SURE, bootstrap_intervals
from training.retrieval import decide, with_features

CUTS: Final = (
    datetime(2011, 7, 1, tzinfo=UTC),
    datetime(2011, 8, 1, tzinfo=UTC),
    datetime(2011, 9, 1, tzinfo=UTC),
    datetime(2011, 10, 1, tzinfo=UTC),
    datetime(2011, 11, 1, tzinfo=UTC),
    datetime(2011, 12, 9, tzinfo=UTC),
)
KNOWN_AT: Final = "event_time+2h"
SEED: Final = 0
RESAMPLES: Final = 400
WANTED: Final = (0.9, 1.1)
"""Calibration slopes that are wanted."""


def run(workdir: Path) -> dict[str, Any]:
    """Log-loss of both over the cuts, and what each cut says."""
    settings = Settings(home=workdir)
    _install(settings)
    target = target_from(
        "purchase_30d", {"event": "purchased", "horizon_days": 30, "spine": "weekly"}
    )
    cuts = [_cut(settings, target, at) for at in CUTS]
    _console.print(_table(cuts))
    ours = float(np.mean([cut["log_loss"][0] for cut in cuts]))
    baseline = float(np.mean([cut["log_loss"][1] for cut in cuts]))
    return {
        "ours": ours,
        "baseline": baseline,
        "ratio": ours / baseline,
        "unit": "log-loss",
        "cuts": len(cuts),
        "surely_worse": sum(_is_surely_worse(cut) for cut in cuts),
        "better": sum(_is_better(cut) for cut in cuts),
        "surely_better": sum(cut["loss_difference"][2] < 0 for cut in cuts),
        "slopes": [round(cut["slope"], 3) for cut in cuts],
        "slope_intervals": [[round(x, 2) for x in cut["slope_interval"]] for cut in cuts],
        "baseline_slopes": [round(cut["baseline_slope"], 3) for cut in cuts],
        "slopes_wanted": sum(WANTED[0] <= cut["slope"] <= WANTED[1] for cut in cuts),
        "slope_half_width": round(float(np.mean([_half_width(cut) for cut in cuts])), 3),
    }


def _install(settings: Settings) -> None:
    import_files(
        settings,
        [shipped_dataset()],
        mapping=load_mapping("online_retail"),
        known_at=parse_known_at(KNOWN_AT),
        clock=lambda: CUTS[-1].replace(year=2024),
    )
    build(settings, through=datetime(2011, 12, 10, tzinfo=UTC))


def _cut(settings: Settings, target: Target, at: datetime) -> dict[str, Any]:
    """One training as of a time, and both on its test rows."""
    decided = decide(settings, target, at)
    dataset = with_features(open_store(settings), decided)
    parts = split(decided.at_us, decided.label, target.horizon + decided.grace)
    with threadpool_limits(1, user_api="blas"):
        judged = fit_and_judge(target, decided.as_of, dataset, parts, SEED, lambda step: None)
    test = dataset.take(parts.test)
    baseline = bootstrap_intervals(
        judged.baseline_score, test.label, test.weight, test.customer, seed=SEED
    )
    loss, auc = _differences(judged, test)
    return {
        "as_of": at.date().isoformat(),
        "test": [_day(test.at_us.min()), _day(test.at_us.max())],
        "rows": [int(parts.development.sum()), len(test)],
        "positives": test.positives,
        "chosen": judged.chosen.name,
        "auc": [judged.evaluation.auc, judged.baseline.auc],
        "log_loss": [judged.evaluation.log_loss, judged.baseline.log_loss],
        "auc_difference": auc,
        "loss_difference": loss,
        "slope": judged.evaluation.calibration_slope,
        "slope_interval": list(judged.intervals["calibration_slope"]),
        "baseline_slope": judged.baseline.calibration_slope,
        "baseline_slope_interval": list(baseline["calibration_slope"]),
        "level": judged.evaluation.calibration_ratio,
    }


def _differences(judged: Judged, test: Dataset) -> tuple[list[float], list[float]]:
    """Ours minus the baseline's log-loss and AUC, each with its interval over customers."""
    ours, theirs = Ranking(judged.score, test.label), Ranking(judged.baseline_score, test.label)
    gap = log_losses(judged.score, test.label) - log_losses(judged.baseline_score, test.label)
    drawn = [
        (float(np.average(gap, weights=w)), ours.auc(w) - theirs.auc(w))
        for w in draws(codes_of(test.customer), test.weight, SEED, RESAMPLES)
    ]
    losses, aucs = (np.quantile(values, SURE).tolist() for values in np.array(drawn).T)
    return (
        [float(np.average(gap, weights=test.weight)), *losses],
        [ours.auc(test.weight) - theirs.auc(test.weight), *aucs],
    )


def _is_surely_worse(cut: dict[str, Any]) -> bool:
    return bool(cut["loss_difference"][1] > 0 or cut["auc_difference"][2] < 0)


def _is_better(cut: dict[str, Any]) -> bool:
    return bool(cut["loss_difference"][0] < 0 and cut["auc_difference"][0] > 0)


def _half_width(cut: dict[str, Any]) -> float:
    low, high = cut["slope_interval"]
    return float(high - low) / 2


def _table(cuts: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        "as of", "test", "chosen", "log-loss", "baseline", "difference", "AUC difference",
        "slope", "baseline's slope", "score/rate",
    )  # fmt: skip
    for cut in cuts:
        table.add_row(
            cut["as_of"],
            " to ".join(cut["test"]),
            cut["chosen"],
            *(f"{value:.4f}" for value in cut["log_loss"]),
            _with_interval(*cut["loss_difference"], digits=4),
            _with_interval(*cut["auc_difference"], digits=4),
            _with_interval(cut["slope"], *cut["slope_interval"], digits=2),
            _with_interval(cut["baseline_slope"], *cut["baseline_slope_interval"], digits=2),
            f"{cut['level']:.2f}",
        )
    return table


def _with_interval(value: float, low: float, high: float, *, digits: int) -> str:
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _day(at_us: Any) -> str:
    return datetime.fromtimestamp(int(at_us) / 1e6, UTC).date().isoformat()


_console = Console(width=180)
