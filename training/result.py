"""What a training run found: one value that is logged, registered and printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from feature_repo import contract
from training.dataset import Dataset
from training.fitting import Judged
from training.folds import Split
from training.gates.champion import TEST_STARTS, Champion
from training.gates.report import GateReport
from training.gates.sanity import Audit
from training.reading import from_us
from training.retrieval import Decided
from training.trail import KIND


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The rows of a training, audited, with everything they came from."""

    #: Folder of the event log.
    log_path: Path
    decided: Decided
    dataset: Dataset
    dataset_sha256: str
    split: Split
    seed: int
    #: The state file of the feature build the rows were read from.
    feature_tables: Mapping[str, Any]
    audit: Audit
    #: Declarations, placement estimates and packages; see training/provenance.py.
    provenance: Mapping[str, str]

    @property
    def test(self) -> Dataset:
        """The rows of the untouched period."""
        return self.dataset.take(self.split.test)

    @property
    def week(self) -> str:
        """ISO week of the knowledge time, such as 2026-W47."""
        return self.decided.as_of.strftime("%G-W%V")

    def tags(self) -> dict[str, str]:
        """What runs and versions are searched by."""
        return {
            KIND: "training",
            "target": self.decided.target.name,
            "week": self.week,
            "feature_service": contract.FEATURE_SERVICE,
            "dataset_sha256": self.dataset_sha256,
            "log_version": str(self.decided.snapshot.version),
            TEST_STARTS: from_us(self.split.test_starts_us).isoformat(),
            "audit.status": "critical" if self.audit.is_critical else "passed",
        }

    def parameters(self) -> dict[str, Any]:
        """Where the rows come from: enough to make the same ones again."""
        target, decided = self.decided.target, self.decided
        return {
            **{f"target.{key}": value for key, value in target.to_declaration().items()},
            "as_of": decided.as_of.isoformat(),
            "grace_days": decided.grace / timedelta(days=1),
            "log_version": decided.snapshot.version,
            "log_pos": decided.snapshot.last_position,
            "feature_service": contract.FEATURE_SERVICE,
            "dataset_sha256": self.dataset_sha256,
            "seed": self.seed,
            **{
                f"features.{view}.{key}": table[key]
                for view, table in self.feature_tables["tables"].items()
                for key in ("version", "digest")
            },
            **self.provenance,
        }

    def counts(self) -> dict[str, int]:
        """Rows of every kind."""
        return row_counts(self.decided, self.dataset, self.split)


def row_counts(decided: Decided, dataset: Dataset, split: Split) -> dict[str, int]:
    """Rows of every kind."""
    return {
        "rows": len(dataset),
        "positives": dataset.positives,
        "excluded_immature": decided.counts.immature,
        "excluded_unseen": decided.unseen,
        "excluded_embargo": int((~split.development & ~split.test).sum()),
        "development_rows": int(split.development.sum()),
        "test_rows": int(split.test.sum()),
        "test_positives": int(dataset.label[split.test].sum()),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A judged model with everything it came from."""

    prepared: Prepared
    judged: Judged
    gates: GateReport
    #: What it was compared with; None: nothing, or nothing that could be used.
    champion: Champion | None

    @property
    def decided(self) -> Decided:
        """The decisions it was trained on."""
        return self.prepared.decided

    @property
    def dataset(self) -> Dataset:
        """All rows."""
        return self.prepared.dataset

    @property
    def split(self) -> Split:
        """How the rows were parted."""
        return self.prepared.split

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return self.prepared.seed

    @property
    def test(self) -> Dataset:
        """The rows of the untouched period."""
        return self.prepared.test

    def tags(self) -> dict[str, str]:
        """What runs and versions are searched by."""
        return self.prepared.tags() | {
            "gate.status": self.gates.status,
            "gate.failures": "; ".join(self.gates.failures)[:5000],
            "gate.asks": "; ".join(self.gates.asks)[:5000],
            "chosen": self.judged.chosen.name,
            "compared_with": self.champion.version if self.champion else "",
        }

    def parameters(self) -> dict[str, Any]:
        """Where the rows come from and what was chosen."""
        return self.prepared.parameters() | {
            "chosen": self.judged.chosen.name,
            **{
                f"{trial.name}.{key}": value
                for trial in self.judged.trials
                for key, value in trial.setting.items()
            },
            "calibrator": self.judged.model.calibrator.to_json()["kind"],
        }

    def summary(self, version: str, run_id: str, aliases: list[str]) -> dict[str, Any]:
        """What `foresend train --json` prints."""
        judged, decided = self.judged, self.decided
        return {
            "target": decided.target.name,
            "version": version,
            "run_id": run_id,
            "aliases": aliases,
            "week": self.prepared.week,
            "chosen": judged.chosen.name,
            "reason": judged.reason,
            **self.prepared.counts(),
            **judged.evaluation.as_dict(),
            "intervals": {name: list(bounds) for name, bounds in judged.intervals.items()},
            "baseline_auc": judged.baseline.auc,
            "baseline": judged.baseline.as_dict(),
            "gate": self.gates.status,
            "gate_failures": list(self.gates.failures),
            "gate_asks": list(self.gates.asks),
            "base_rate": judged.model.base_rate,
            "as_of": decided.as_of.isoformat(),
            "grace_days": decided.grace / timedelta(days=1),
            "dataset_sha256": self.prepared.dataset_sha256,
            "log_version": decided.snapshot.version,
        }
