"""One training, from the event log to a registered version."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from feast import FeatureStore
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from feature_repo import contract
from feature_repo.config import load_config
from feature_repo.errors import ForesendError
from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.targets import Target
from serving.model import ModelUnusable
from training.audit.run import audit_target
from training.fitting import Judged, fit_and_judge
from training.folds import split
from training.gates.champion import load_champion
from training.gates.judging import Rival, judge_all
from training.promotion import Promotion, promotion_of
from training.provenance import provenance
from training.register import refuse, register
from training.registry import Registry, open_registry
from training.result import Prepared, Trained
from training.retrieval import decide, feature_tables, with_features
from training.search_settings import training_settings_of
from training.tiers.registry import propose_for
from training.tiers.rules import tier_rules

_NAMED: Final = 3

Progress = Callable[[str], None]
Clock = Callable[[], datetime]


class LeakageFound(ForesendError):
    """The training rows know what was not known at their time; no version was registered."""

    exit_code = 1

    def __init__(self, message: str, run_id: str) -> None:
        super().__init__(message)
        #: The run that has the report.
        self.run_id = run_id


def train(
    settings: Settings,
    target: Target,
    *,
    as_of: datetime | None = None,
    seed: int = 0,
    search_minutes: float | None = None,
    clock: Clock = lambda: datetime.now(UTC),
    progress: Progress = lambda step: None,
) -> dict[str, Any]:
    """Train, judge and register a model of a target; returns what `--json` prints.

    Settings are searched for `search_minutes`; None: as long as foresend.yaml says. What can be
    refused is refused first: a registry that does not answer, features that lag the log, too few
    decisions, rows that leak.

    Raises:
        StoreUnavailable: MLflow does not answer.
        ConfigError: a section of foresend.yaml cannot be used.
        NotReady: nothing was imported, or the features are not built up to the log.
        TooFewRows: not enough mature decisions.
        LeakageFound: the audit has a critical finding; its run says where.
    """
    progress("MLflow")
    registry = open_registry(settings)
    config = load_config(settings)
    promotion, rules = promotion_of(config), tier_rules(config, target.name)
    declared = training_settings_of(config).search_minutes
    minutes = declared if search_minutes is None else search_minutes
    store = open_store(settings)
    origin = {**provenance(settings, config), "search_minutes": f"{minutes:g}"}
    prepared = prepare(
        settings, store, target, as_of=as_of, seed=seed, origin=origin, progress=progress
    )
    if prepared.audit.is_critical:
        run_id = refuse(registry, prepared)
        raise LeakageFound(_leak(prepared, run_id), run_id)
    # One BLAS thread: sums come out in one order whatever the machine, and small ones faster.
    with threadpool_limits(1, user_api="blas"):
        judged = fit_and_judge(
            target,
            prepared.decided.as_of,
            prepared.dataset,
            prepared.split,
            seed,
            progress,
            search_minutes=minutes,
        )
        progress("the gates")
        trained = _judged(registry, prepared, judged, promotion)
    progress("the run and its model in MLflow")
    service = store.get_feature_service(contract.FEATURE_SERVICE)
    summary = register(registry, trained, service, promotion=promotion, clock=clock)
    if trained.gates.status != "failed":
        progress("tiers")
        propose_for(registry, trained, summary["version"], rules)
    return summary


def prepare(
    settings: Settings,
    store: FeatureStore,
    target: Target,
    *,
    as_of: datetime | None,
    seed: int,
    origin: Mapping[str, str],
    progress: Progress,
) -> Prepared:
    """The rows of a training, parted and audited; `origin` is what its run says of itself besides.

    Raises:
        NotReady: nothing was imported, or the features are not built up to the log.
        TooFewRows: not enough mature decisions.
    """
    progress("decisions and labels")
    decided = decide(settings, target, as_of)
    tables = feature_tables(settings, decided.snapshot, as_of)
    parts = split(decided.at_us, decided.label, target.horizon + decided.grace)
    progress(f"features of {len(decided.label):,} decisions")
    dataset = with_features(store, decided, progress=progress)
    progress("leakage audit")
    with threadpool_limits(1, user_api="blas"):
        audit = audit_target(settings, store, decided, dataset, parts, seed=seed, progress=progress)
    return Prepared(
        log_path=settings.log_path,
        decided=decided,
        dataset=dataset,
        dataset_sha256=dataset.sha256(),
        split=parts,
        seed=seed,
        feature_tables=tables,
        audit=audit,
        provenance=origin,
    )


def _judged(
    registry: Registry, prepared: Prepared, judged: Judged, promotion: Promotion
) -> Trained:
    rival = _rival(registry, prepared.decided.target.name)
    gates = judge_all(
        prepared.dataset,
        prepared.split,
        judged,
        prepared.audit,
        rival,
        promotion,
        seed=prepared.seed,
        timer=time.perf_counter,
    )
    return Trained(prepared=prepared, judged=judged, gates=gates, champion=rival.champion)


def _rival(registry: Registry, target: str) -> Rival:
    """The champion; when it cannot be loaded a new version cannot be compared, only promoted."""
    try:
        return Rival(champion=load_champion(registry, target))
    except ModelUnusable as exc:
        return Rival(champion=None, trouble=str(exc))


def _leak(prepared: Prepared, run_id: str) -> str:
    critical = [f for f in prepared.audit.findings if str(f.severity) == "critical"]
    named = "; ".join(
        f"{found.feature or 'the rows'}: {found.evidence} {found.cure}"
        for found in critical[:_NAMED]
    )
    more = f" ({len(critical) - _NAMED} more)" if len(critical) > _NAMED else ""
    return (
        f"{prepared.decided.target.name} was not trained, its rows leak: {named}{more}. "
        f"The report is audit.html of MLflow run {run_id}; `foresend audit "
        f"{prepared.decided.target.name}` makes it again."
    )
