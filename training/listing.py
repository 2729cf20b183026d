"""The registered versions as rows, and the moves of their champions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from training import trail
from training.registry import Registry

METRICS: Final = (
    "auc",
    "baseline_auc",
    "log_loss",
    "calibration_slope",
    "top_decile_lift",
    "rows",
)


def list_versions(registry: Registry, targets: Sequence[str]) -> list[dict[str, Any]]:
    """Every version of the targets, newest first, with aliases, verdict and metrics."""
    rows = []
    for target in targets:
        named = registry.aliases(target)
        for version in registry.versions(target):
            number = str(version.version)
            metrics = registry.metrics(version.run_id)
            rows.append(
                {
                    "target": target,
                    "version": number,
                    "aliases": sorted(alias for alias, of in named.items() if of == number),
                    "gate": version.tags.get("gate.status"),
                    "gate_failures": version.tags.get("gate.failures", ""),
                    "gate_asks": version.tags.get("gate.asks", ""),
                    "week": version.tags.get("week"),
                    "chosen": version.tags.get("chosen"),
                    "run_id": version.run_id,
                    **{name: metrics.get(name) for name in METRICS},
                }
            )
    return rows


def list_moves(registry: Registry, target: str) -> list[dict[str, Any]]:
    """Every move of a target's champion, newest first."""
    return [move.as_dict() for move in reversed(trail.history(registry, target))]
