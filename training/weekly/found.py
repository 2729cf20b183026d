"""What MLflow holds of a week: the trainings that were done, and the evidence of each."""

from __future__ import annotations

import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from feature_repo.config import Config
from feature_repo.errors import NotReady
from serving.tiers import STATUS_TAG
from training.registry import CHALLENGER, CHAMPION, Registry
from training.tiers.registry import propose_version
from training.tiers.rules import tier_rules
from training.trail import KIND
from training.weekly.evidence import Evidence
from training.weekly.state import Moment, Outcome, Status, week_of

log = structlog.get_logger()

WEEKLY: Final = "foresend.weekly"
"""Tag of a training's run: the key of the weekly run that did it."""

_DONE: Final = ("FINISHED", "FAILED")
_DOCUMENTS: Final = ("gates.json", "audit.json", "tiers/proposal.json")


def find_done(registry: Registry, target: str, moment: Moment, as_of: datetime) -> Outcome | None:
    """The training of a target that makes another one needless; None when there is none.

    One that a run of the same key did, or one as of the same time; when no time was chosen, any
    of the same week.
    """
    may_differ = not moment.is_chosen and week_of(as_of) == moment.week
    for tag, value in ((WEEKLY, moment.key), ("week", week_of(as_of))):
        for run in _trainings(registry, target, tag, value):
            same = tag == WEEKLY or run.data.params.get("as_of") == as_of.isoformat()
            outcome = outcome_of(registry, run)
            # A leak that another training found may have been mended since.
            is_theirs = may_differ and outcome is not None and outcome.status is not Status.LEAK
            if outcome is not None and (same or is_theirs):
                return outcome
    return None


def mark(registry: Registry, outcome: Outcome, key: str) -> None:
    """Note at a training's run which weekly run did it."""
    if outcome.run_id is not None:
        with registry.answering():
            registry.client.set_tag(outcome.run_id, WEEKLY, key)


def _trainings(registry: Registry, target: str, tag: str, value: str) -> list[Run]:
    """Runs of a target's trainings with a tag, newest first."""
    words = f"tags.target = '{target}' and tags.`{tag}` = '{value}' and tags.`{KIND}` = 'training'"
    with registry.answering():
        return list(registry.client.search_runs([registry.experiment_id()], words, max_results=100))


def outcome_of(registry: Registry, run: Run) -> Outcome | None:
    """What came of a run; None when it did not come to its end."""
    tags = run.data.tags
    leaks = tags.get("audit.status") == "critical"
    target, run_id = tags["target"], str(run.info.run_id)
    version = next((v for v in registry.versions(target) if v.run_id == run_id), None)
    # The version appears when all else is stored: with one, it matters little how the run ended.
    if version is None and not (leaks and run.info.status in _DONE):
        return None
    passed = tags.get("gate.status") == "passed"
    status = Status.LEAK if leaks else Status.PASSED if passed else Status.GATE
    failures = [words for words in tags.get("gate.failures", "").split("; ") if words]
    return Outcome(
        target=target,
        status=status,
        as_of=str(run.data.params.get("as_of")),
        reasons=tuple(failures),
        version=None if version is None else str(version.version),
        run_id=run_id,
        found=True,
    )


def add_alias(registry: Registry, outcome: Outcome) -> None:
    """Make the newest version that passed the challenger when its training was killed before."""
    if outcome.version is None or outcome.status is not Status.PASSED:
        return
    is_newest = str(registry.versions(outcome.target)[0].version) == outcome.version
    if is_newest and outcome.version not in registry.aliases(outcome.target).values():
        with registry.answering():
            registry.set_alias(outcome.target, CHALLENGER, outcome.version)


def add_tiers(registry: Registry, config: Config, outcome: Outcome) -> None:
    """Propose the tiers of a version whose training was killed just before it did."""
    if outcome.version is None:
        return
    tags = {str(v.version): v.tags for v in registry.versions(outcome.target)}[outcome.version]
    # As in a training: what failed will not be served.
    if STATUS_TAG in tags or tags.get("gate.status") == "failed":
        return
    try:
        rules = tier_rules(config, outcome.target)
        propose_version(registry, outcome.target, outcome.version, rules)
    except NotReady as exc:
        log.warning("tiers_not_proposed", target=outcome.target, why=str(exc))


def still_there(registry: Registry, outcome: Outcome) -> bool:
    """Whether the run of an outcome is still in MLflow."""
    if outcome.run_id is None:
        return False
    try:
        run = registry.client.get_run(outcome.run_id)
    except MlflowException:
        return False
    return str(run.info.lifecycle_stage) == "active"


def evidence_of(registry: Registry, outcome: Outcome) -> Evidence:
    """Everything MLflow knows of an outcome's run and version."""
    if outcome.run_id is None:
        return Evidence()
    with registry.answering():
        run = registry.client.get_run(outcome.run_id)
        documents = _documents(registry, outcome.run_id)
    named = registry.aliases(outcome.target)
    champion = named.get(CHAMPION)
    versions = {str(v.version): v for v in registry.versions(outcome.target)}
    own = versions.get(outcome.version or "")
    served = versions.get(champion or "")
    return Evidence(
        metrics=run.data.metrics,
        tags=run.data.tags,
        gates=documents.get("gates.json", {}),
        audit=documents.get("audit.json", {}),
        tiers=documents.get("tiers/proposal.json", {}),
        tiers_status=None if own is None else own.tags.get("tiers.status"),
        aliases=tuple(sorted(a for a, v in named.items() if v == outcome.version)),
        champion=champion,
        champion_metrics={} if served is None else registry.metrics(served.run_id),
        links=_links(registry, run, outcome),
    )


def _documents(registry: Registry, run_id: str) -> dict[str, Any]:
    """The JSON artifacts of a run that a page shows; those that are missing are left out."""
    client = registry.client
    there = {artifact.path for artifact in client.list_artifacts(run_id)}
    if "tiers" in there:
        there |= {artifact.path for artifact in client.list_artifacts(run_id, "tiers")}
    found = {}
    with tempfile.TemporaryDirectory(prefix="foresend-weekly-") as folder:
        for name in _DOCUMENTS:
            if name in there:
                path = client.download_artifacts(run_id, name, folder)
                found[name] = json.loads(Path(path).read_text())
    return found


def _links(registry: Registry, run: Run, outcome: Outcome) -> dict[str, str]:
    if not registry.uri.startswith(("http://", "https://")):
        return {}
    base = registry.uri.rstrip("/")
    links = {"run": f"{base}/#/experiments/{run.info.experiment_id}/runs/{outcome.run_id}"}
    if outcome.version is not None:
        links["version"] = f"{base}/#/models/{outcome.target}/versions/{outcome.version}"
    return links
