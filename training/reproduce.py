"""The dataset and the metrics of a training, made again from what its MLflow run says of itself.

The log is append-only, so the version a training read is the rows up to its newest position; the
features are a function of the log. When either has moved on, both are built again under scratch.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import ibis
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from feature_repo.errors import NotReady, UnusableInput
from feature_repo.history import build, duck
from feature_repo.history.log import EventLog
from feature_repo.history.log_files import commit_files, write_files
from feature_repo.history.schema import LOG
from feature_repo.scratch import scratch_folder
from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.targets import Target, target_from
from training.fitting import Judged, fit_and_judge
from training.folds import split
from training.provenance import PACKAGES, package_version
from training.registry import Registry, open_registry
from training.result import row_counts
from training.retrieval import decide, with_features
from training.trail import KIND

Progress = Callable[[str], None]

_READINGS: Final = "readings"
_APART: Final = "gate."
"""Metrics of a comparison with the champion of the day, and of the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a training's run says of itself."""

    run_id: str
    target: Target
    as_of: datetime
    log_pos: int
    #: ISO time up to which windows were built.
    through: str
    digests: Mapping[str, str]
    seed: int
    dataset_sha256: str
    metrics: Mapping[str, float]
    #: What is not the same today and may make a difference, in words.
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A value that did not come out the same; None: it is on one side only."""

    name: str
    recorded: float | str | None
    found: float | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """How a training came out again."""

    run_id: str
    target: str
    dataset_sha256: str
    #: Whether log and features had moved on and were built again.
    rebuilt: bool
    compared: int
    differences: tuple[Difference, ...]
    #: What may explain them.
    remarks: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Whether everything came out the same."""
        return not self.differences


def reproduce(
    settings: Settings, run_id: str, *, progress: Progress = lambda step: None
) -> Reproduction:
    """Make a training's dataset and metrics again and compare them; registers nothing.

    Raises:
        StoreUnavailable: MLflow does not answer.
        UnusableInput: there is no such training.
        NotReady: the log does not reach as far.
    """
    progress("MLflow")
    recorded = _recorded(open_registry(settings), run_id)
    with _as_then(settings, recorded, progress) as (then, remarks):
        progress("decisions and labels")
        decided = decide(then, recorded.target, recorded.as_of)
        parts = split(decided.at_us, decided.label, recorded.target.horizon + decided.grace)
        dataset = with_features(open_store(then), decided, progress=progress)
        with threadpool_limits(1, user_api="blas"):
            judged = fit_and_judge(
                recorded.target, decided.as_of, dataset, parts, recorded.seed, progress
            )
    digest = dataset.sha256()
    found = {**_metrics(judged), **row_counts(decided, dataset, parts)}
    differences = _differences(recorded, digest, found)
    return Reproduction(
        run_id=run_id,
        target=recorded.target.name,
        dataset_sha256=digest,
        rebuilt=then is not settings,
        compared=len(found) + 1,
        differences=tuple(differences),
        remarks=(*recorded.changed, *remarks),
    )


def _recorded(registry: Registry, run_id: str) -> Recorded:
    run = _run(registry, run_id)
    params, tags = run.data.params, run.data.tags
    with tempfile.TemporaryDirectory(prefix="foresend-reproduce-") as folder:
        declared, tables = (
            _document(registry, run_id, name, folder)
            for name in ("target.json", "feature_tables.json")
        )
    return Recorded(
        run_id=run_id,
        target=target_from(tags["target"], declared),
        as_of=datetime.fromisoformat(params["as_of"]),
        log_pos=int(params["log_pos"]),
        through=str(tables["through"]),
        digests={view: str(table["digest"]) for view, table in tables["tables"].items()},
        seed=int(params["seed"]),
        dataset_sha256=tags["dataset_sha256"],
        metrics=run.data.metrics,
        changed=tuple(_changed(params)),
    )


def _changed(params: Mapping[str, str]) -> Iterator[str]:
    """Packages of another version, and a search whose outcome hangs on the clock."""
    for package in PACKAGES:
        before, now = params.get(f"package.{package}"), package_version(package)
        if before not in {None, now}:
            yield f"{package} was {before} and is {now}."
    minutes = params.get("search_minutes", "0")
    if minutes != "0":
        yield f"It searched for {minutes} minutes, and how far that gets depends on the machine."


def _run(registry: Registry, run_id: str) -> Run:
    try:
        run = registry.client.get_run(run_id)
    except MlflowException as exc:
        message = (
            f"MLflow at {registry.uri} has no run {run_id!r}. `foresend models list --json` names "
            "the run of each version."
        )
        raise UnusableInput(message) from exc
    kind = run.data.tags.get(KIND)
    if run.data.tags.get("audit.status") == "critical":
        message = f"Run {run_id} has no metrics: its rows leak, and nothing was trained."
        raise UnusableInput(message)
    if kind != "training" or "log_pos" not in run.data.params:
        message = f"Run {run_id} is no finished training; its kind is {kind!r}."
        raise UnusableInput(message)
    return run


def _document(registry: Registry, run_id: str, name: str, folder: str) -> Any:
    with registry.answering():
        path = registry.client.download_artifacts(run_id, name, folder)
    return json.loads(Path(path).read_text())


@contextmanager
def _as_then(
    settings: Settings, recorded: Recorded, progress: Progress
) -> Iterator[tuple[Settings, list[str]]]:
    """The installation as the training found it: itself, or one built under scratch."""
    snapshot = EventLog(settings.log_path).snapshot()
    if snapshot.last_position < recorded.log_pos:
        message = (
            f"The training read the event log up to row {recorded.log_pos:,}; the log of "
            f"{settings.home} ends at {snapshot.last_position:,}. It is another log."
        )
        raise NotReady(message)
    if snapshot.last_position == recorded.log_pos and _digests(settings) == recorded.digests:
        yield settings, []
        return
    with scratch_folder(settings, "reproduce") as folder:
        then = settings.model_copy(update={"home": folder, "registry_url": None})
        progress(f"the event log up to row {recorded.log_pos:,}")
        remarks = _copy_log(settings, then, recorded)
        readings = settings.deliverability_path / _READINGS
        if readings.exists():
            # Readings alone: the estimates are made of them and of the log, and written.
            then.deliverability_path.mkdir(parents=True)
            (then.deliverability_path / _READINGS).symlink_to(readings)
        build.build(
            then,
            through=datetime.fromisoformat(recorded.through),
            progress=lambda step, share: progress(f"features: {step} {share:.0%}"),
        )
        yield then, remarks


def _digests(settings: Settings) -> dict[str, str]:
    """Digest of each feature table as the last build left it."""
    path = settings.state_path / build.STATE_FILE
    if not path.exists():
        return {}
    tables = json.loads(path.read_text())["tables"]
    return {view: str(table["digest"]) for view, table in tables.items()}


def _copy_log(settings: Settings, then: Settings, recorded: Recorded) -> list[str]:
    """Write the rows the training could read as a log of their own; what is to be said of them."""
    with duck.connect(settings) as con:
        rows = EventLog(settings.log_path).snapshot().rows(con)
        held = rows.filter(rows.log_pos <= recorded.log_pos).select(*LOG.names)
        written = write_files(con, str(ibis.to_sql(held, dialect="duckdb")), then.log_path)
    commit_files(then.log_path, written, writer="reproduce", last_position=recorded.log_pos)
    kept = sum(json.loads(action.stats)["numRecords"] for action in written)
    # Positions have no gaps but those that erasure left.
    missing = recorded.log_pos + 1 - kept
    if not missing:
        return []
    return [f"{missing:,} rows of the log of then were erased since; they cannot come back."]


def _metrics(judged: Judged) -> dict[str, float]:
    """What a training logs of its model and of the baseline, by the names it logs them under."""
    found = dict(judged.evaluation.as_dict())
    for name, (low, high) in judged.intervals.items():
        found |= {f"{name}.lo": low, f"{name}.hi": high}
    for prefix, evaluation in (
        ("baseline_", judged.baseline),
        ("uncalibrated_", judged.uncalibrated),
    ):
        found |= {prefix + name: value for name, value in evaluation.as_dict().items()}
    return found


def _differences(
    recorded: Recorded, digest: str, found: Mapping[str, float]
) -> Iterator[Difference]:
    """The dataset first, then each metric; equal means the same to the bit."""
    if digest != recorded.dataset_sha256:
        yield Difference(name="dataset_sha256", recorded=recorded.dataset_sha256, found=digest)
    wanted = {n for n in recorded.metrics if not n.startswith(_APART) and ".fold_" not in n}
    for name in sorted({*found, *wanted}):
        before, after = recorded.metrics.get(name), found.get(name)
        if before is None and after is not None and math.isnan(after):
            continue
        if not _same(before, after):
            yield Difference(name=name, recorded=before, found=after)


def _same(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is after
    return before == after or (math.isnan(before) and math.isnan(after))
