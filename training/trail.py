"""Who made which version champion, when and why: the history that MLflow does not keep.

Each move is one parameter of a run that holds nothing else, one such run per target and year.
MLflow refuses to change a parameter, so what is written stays; a deleted run is still read, until
`mlflow gc` removes it for good. A year of daily promotions is one page of parameters.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from mlflow.entities import Run, ViewType

from training.registry import Registry

KIND: Final = "foresend.kind"
"""Tag of every run: what it is, `training`, `candidate` or `promotions`."""

PROMOTIONS: Final = "promotions"
LONGEST_REASON: Final = 1000
"""Characters of a reason; a parameter holds 6000 in all."""

_MOST_RUNS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One change of a target's champion."""

    at: datetime
    who: str
    #: first, promoted, automatic, rolled_back or noticed.
    action: str
    #: Version before; None when there was none.
    before: str | None
    #: Version after; None when the alias was removed.
    after: str | None
    reason: str = ""
    #: The training run of the version after.
    run_id: str | None = None
    #: What the gates said of the version after.
    gate: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The move as JSON values."""
        return asdict(self) | {"at": self.at.isoformat()}


def write(registry: Registry, target: str, move: Move) -> None:
    """Append a move.

    Raises:
        StoreUnavailable: MLflow did not take it.
    """
    # By time, and unlike any other that is written at the same time.
    key = f"{move.at:%Y-%m-%dT%H:%M:%S.%f}Z {uuid.uuid4().hex[:8]}"
    kept = asdict(move) | {"at": move.at.isoformat(), "reason": move.reason[:LONGEST_REASON]}
    with registry.answering():
        run_id = _run_of(registry, target, move.at.year)
        registry.client.log_param(run_id, key, json.dumps(kept))


def history(registry: Registry, target: str) -> list[Move]:
    """Every move of a target, oldest first."""
    with registry.answering():
        runs = _runs(registry, target)
    written = [item for run in runs for item in run.data.params.items()]
    return [_move(json.loads(value)) for _, value in sorted(written)]


def _run_of(registry: Registry, target: str, year: int) -> str:
    """The run of a year, made when it is missing. Two made at once are both read."""
    for run in _runs(registry, target, ViewType.ACTIVE_ONLY):
        if run.data.tags.get("year") == str(year):
            return str(run.info.run_id)
    made = registry.client.create_run(
        registry.experiment_id(),
        run_name=f"promotions of {target} {year}",
        tags={KIND: PROMOTIONS, "target": target, "year": str(year)},
    )
    registry.client.set_terminated(made.info.run_id, "FINISHED")
    return str(made.info.run_id)


def _runs(registry: Registry, target: str, view: int = ViewType.ALL) -> list[Run]:
    words = f"tags.`{KIND}` = '{PROMOTIONS}' and tags.target = '{target}'"
    found: list[Run] = list(
        registry.client.search_runs(
            [registry.experiment_id()], words, run_view_type=view, max_results=_MOST_RUNS
        )
    )
    return found


def _move(kept: Mapping[str, Any]) -> Move:
    return Move(**(dict(kept) | {"at": datetime.fromisoformat(kept["at"])}))
