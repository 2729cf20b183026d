"""What a training run found: one value that is logged, registered and printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from feature_repo import contract
from training.dataset import Dataset
from training.fitting import Judged
from training.folds import Split
from training.gate import Gate
from training.retrieval import Decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A judged model with everything it came from."""

    decided: Decided
    dataset: Dataset
    dataset_sha256: str
    split: Split
    judged: Judged
    gate: Gate
    seed: int
    #: The state file of the feature build the rows were read from.
    feature_tables: Mapping[str, Any]

    @property
    def test(self) -> Dataset:
        """The rows of the untouched period."""
        return self.dataset.take(self.split.test)

    def tags(self) -> dict[str, str]:
        """What versions are searched by."""
        return {
            "target": self.decided.target.name,
            "week": self.decided.as_of.strftime("%G-W%V"),
            "gate.status": "passed" if self.gate.passed else "failed",
            "gate.failures": "; ".join(self.gate.failures),
            "feature_service": contract.FEATURE_SERVICE,
            "dataset_sha256": self.dataset_sha256,
            "log_version": str(self.decided.snapshot.version),
        }

    def parameters(self) -> dict[str, Any]:
        """Where the rows come from and what was chosen."""
        target, decided = self.decided.target, self.decided
        return {
            **{f"target.{key}": value for key, value in target.to_declaration().items()},
            "as_of": decided.as_of.isoformat(),
            "grace_days": decided.grace / timedelta(days=1),
            "log_version": decided.snapshot.version,
            "log_pos": decided.snapshot.last_position,
            "feature_service": contract.FEATURE_SERVICE,
            "seed": self.seed,
            "chosen": self.judged.chosen.name,
            **{
                f"{trial.name}.{key}": value
                for trial in self.judged.trials
                for key, value in trial.setting.items()
            },
            "calibrator": self.judged.model.calibrator.to_json()["kind"],
            **{
                f"features.{view}.{key}": table[key]
                for view, table in self.feature_tables["tables"].items()
                for key in ("version", "digest")
            },
        }

    def counts(self) -> dict[str, int]:
        """Rows of every kind."""
        split = self.split
        return {
            "rows": len(self.dataset),
            "positives": self.dataset.positives,
            "excluded_immature": self.decided.counts.immature,
            "excluded_embargo": int((~split.development & ~split.test).sum()),
            "development_rows": int(split.development.sum()),
            "test_rows": int(split.test.sum()),
            "test_positives": self.test.positives,
        }

    def summary(self, version: str, run_id: str, aliases: list[str]) -> dict[str, Any]:
        """What `foresend train --json` prints."""
        judged = self.judged
        return {
            "target": self.decided.target.name,
            "version": version,
            "run_id": run_id,
            "aliases": aliases,
            "chosen": judged.chosen.name,
            **self.counts(),
            **judged.evaluation.as_dict(),
            "baseline_auc": judged.baseline.auc,
            "baseline": judged.baseline.as_dict(),
            "gate": "passed" if self.gate.passed else "failed",
            "gate_failures": list(self.gate.failures),
            "base_rate": judged.model.base_rate,
            "as_of": self.decided.as_of.isoformat(),
            "grace_days": self.decided.grace / timedelta(days=1),
            "dataset_sha256": self.dataset_sha256,
            "log_version": self.decided.snapshot.version,
        }
