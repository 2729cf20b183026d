"""Ghosts: a provider hides two weeks of mail. Are its customers recognised, and are they spared?

On simulated truth, beside a naive installation that knows nothing of placement. A ghost is truly
one when most of their last five mails were put into spam. `ours` and `baseline` are what the mean
score of the ghosts lost between the midnight at which the collapse began and the one at which it
was over, at the hands of models trained before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from feature_repo.settings import Settings
from infra.bench.ghost_world import (
    Programme,
    click_target,
    decisions,
    described,
    inboxed,
    install,
    simulate,
    state_at,
    told_nothing,
    truly_ghosts,
)
from infra.simulator.options import Options, collapse_from
from serving.model import ScoringModel
from serving.placement import GHOST
from training.dataset import Dataset
from training.evaluation import evaluate, log_losses
from training.fitting import fit_and_judge
from training.folds import split
from training.gates.paired import codes_of, draws
from training.reading import to_us

CUSTOMERS: Final = 2500
DAYS: Final = 215
FIRST_DAY: Final = 170
COLLAPSES: Final[Mapping[str, Sequence[str]]] = {
    "google": ("google:170:14",),
    "microsoft_twice": ("microsoft:90:14", "microsoft:170:14"),
}
MATURE: Final = timedelta(days=8)
"""A week for the clicks, and a day for them to arrive."""

SEED: Final = 11
RESAMPLES: Final = 200

Floats = npt.NDArray[np.float64]


def run(workdir: Path) -> dict[str, Any]:
    """All variants; the first one is the headline."""
    variants: dict[str, dict[str, Any]] = {}
    for name, collapses in COLLAPSES.items():
        options = programme_options(collapses)
        programme = simulate(workdir / "programme", options)
        variants[name] = described(options) | measure(programme, workdir)
        if name == "google":
            loss_naive = variants[name]["loss_naive"]
            variants["google_without_seeds"] = seedless(programme, workdir, loss_naive)
    programme = simulate(workdir / "programme", programme_options((), placement="perfect"))
    variants["perfect"] = unchanged(programme, workdir)
    headline = variants["google"]
    return {
        "ours": headline["loss_ours"],
        "baseline": headline["loss_naive"],
        "unit": "score lost by ghosts",
        "ratio": headline["loss_ratio"],
        "recall": headline["recall"],
        "precision": headline["precision"],
        "auc_gain": headline["auc_gain"],
        "loss_ratios": {k: v["loss_ratio"] for k, v in variants.items() if "loss_ratio" in v},
        "unchanged_when_perfect": all(
            v is True for k, v in variants["perfect"].items() if k != "rows"
        ),
        "variants": variants,
    }


def programme_options(
    collapses: Sequence[str], *, customers: int = CUSTOMERS, days: int = DAYS, **more: Any
) -> Options:
    """A programme with collapses as the simulator's option has them."""
    return Options(
        customers=customers,
        days=days,
        seed=SEED,
        collapses=tuple(collapse_from(text) for text in collapses),
        **more,
    )


def measure(programme: Programme, workdir: Path) -> dict[str, Any]:
    """One programme: recognition, what ghosts lose, and what is paid for it elsewhere."""
    ours = install(programme, workdir / "ours", seeds=True)
    naive = told_nothing(ours, workdir / "naive")
    found = recognition(programme, ours)
    for name, settings in (("ours", ours), ("naive", naive)):
        scores = scores_around(programme, settings)
        before, after = scores["ghosts"]
        found |= {f"{who}_{name}": pair for who, pair in scores.items()}
        found[f"loss_{name}"] = round(before - after, 6)
    found["loss_ratio"] = round(found["loss_ours"] / found["loss_naive"], 4)
    return found | later(programme, ours, naive)


def seedless(programme: Programme, workdir: Path, loss_naive: float) -> dict[str, Any]:
    """The same programme without a single seed test."""
    settings = install(programme, workdir / "ours", seeds=False)
    before, after = scores_around(programme, settings)["ghosts"]
    loss = {"loss_ours": round(before - after, 6)}
    loss["loss_ratio"] = round(loss["loss_ours"] / loss_naive, 4)
    return recognition(programme, settings) | loss


def recognition(programme: Programme, settings: Settings) -> dict[str, Any]:
    """How well ghosts are told from others at the end of the collapse."""
    truth = truly_ghosts(programme)
    customers = np.array(sorted(truth), dtype=object)
    is_ghost = np.array([truth[customer] for customer in customers])
    said = state_at(settings, customers, programme.after).context["ghost"] >= GHOST
    right = int((said & is_ghost).sum())
    return {
        "ghosts": int(is_ghost.sum()),
        "recall": round(right / int(is_ghost.sum()), 4),
        "precision": round(right / max(1, int(said.sum())), 4),
    }


def scores_around(programme: Programme, settings: Settings) -> dict[str, tuple[float, float]]:
    """Mean scores of ghosts and of others when the collapse began and when it was over.

    The model was trained before it.
    """
    truth = truly_ghosts(programme)
    model = fitted(decisions(settings, programme.before), programme.before)
    found = {}
    for who, wanted in (("ghosts", True), ("others", False)):
        customers = np.array(sorted(c for c in truth if truth[c] is wanted), dtype=object)
        before, after = (
            round(float(model.predict(state_at(settings, customers, at).columns).mean()), 6)
            for at in (programme.before, programme.after)
        )
        found[who] = (before, after)
    return found


def fitted(dataset: Dataset, as_of: datetime) -> ScoringModel:
    """The model that `foresend train` would register."""
    target = click_target()
    parts = split(dataset.at_us, dataset.label, target.horizon + timedelta(days=1))
    with threadpool_limits(1, user_api="blas"):
        return fit_and_judge(target, as_of, dataset, parts, SEED, lambda step: None).model


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Scores of the same later rows by two models."""

    label: npt.NDArray[np.int8]
    codes: npt.NDArray[np.int64]
    ours: Floats
    naive: Floats


def later(programme: Programme, ours: Settings, naive: Settings) -> dict[str, Any]:
    """AUC and calibration on mail in the inbox, after training on the collapse; paired bounds."""
    trained = programme.after + MATURE
    scores = []
    for settings in (ours, naive):
        model = fitted(decisions(settings, trained), trained)
        rows = decisions(settings, None)
        rows = rows.take(rows.at_us >= to_us(trained))
        rows = rows.take(inboxed(programme, rows))
        scores.append(model.predict(rows.columns))
    held = HeldOut(rows.label, codes_of(rows.customer), *scores)
    figures = {
        f"held_out_{name}": {
            metric: round(value, 5)
            for metric, value in evaluate(score, held.label).as_dict().items()
            if metric in {"auc", "log_loss", "calibration_slope", "calibration_ratio",
                          "calibration_error"}
        }
        for name, score in (("ours", held.ours), ("naive", held.naive))
    }  # fmt: skip
    return {"held_out_rows": len(rows), **figures, **_bounds(held)}


def _bounds(held: HeldOut) -> dict[str, Any]:
    """Ours minus naive, with 95 % intervals over draws of customers."""
    ones = np.ones(len(held.label))
    gap = log_losses(held.ours, held.label) - log_losses(held.naive, held.label)
    auc, loss, error = [], [], []
    for weight in draws(held.codes, ones, SEED, RESAMPLES):
        auc.append(_auc(held.ours, held, weight) - _auc(held.naive, held, weight))
        loss.append(float(np.average(gap, weights=weight)))
        error.append(_off(held.ours, held, weight) - _off(held.naive, held, weight))
    return {
        "auc_gain": _interval(auc),
        "log_loss_gain": _interval([-value for value in loss]),
        "calibration_gain": _interval([-value for value in error]),
    }


def _auc(score: Floats, held: HeldOut, weight: Floats) -> float:
    return float(roc_auc_score(held.label, score, sample_weight=weight))


def _off(score: Floats, held: HeldOut, weight: Floats) -> float:
    """How far the mean score is from the observed rate, over that rate."""
    rate = float(np.average(held.label, weights=weight))
    return abs(float(np.average(score, weights=weight)) / rate - 1)


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the middle 95 %."""
    low, high = np.quantile(values, (0.025, 0.975))
    return round(float(np.mean(values)), 5), round(float(low), 5), round(float(high), 5)


def unchanged(programme: Programme, workdir: Path) -> dict[str, Any]:
    """With perfect placement: are rows, weights and scores those of the naive, bit for bit?"""
    ours = install(programme, workdir / "ours", seeds=True)
    naive = told_nothing(ours, workdir / "naive")
    first, second = decisions(ours, None), decisions(naive, None)
    model = fitted(first, programme.options.end)
    return {
        "rows": len(first),
        "equal_rows": without_context(first).sha256() == without_context(second).sha256(),
        "equal_scores": bool(
            np.array_equal(model.predict(first.columns), model.predict(second.columns))
        ),
        "weights_of_one": bool((first.weight == 1.0).all()),
    }


def without_context(dataset: Dataset) -> Dataset:
    """What a model sees."""
    return replace(dataset, context={})
