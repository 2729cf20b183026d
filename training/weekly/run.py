"""The week's work: features up to date, every target audited, trained, judged, and one report.

It may be killed at any point and started again: what is done is in the week's state file and, when
that is lost, in MLflow by the tags `target` and `week` and the knowledge time.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

import duckdb
import structlog
from deltalake.exceptions import DeltaError
from feast.errors import FeastError
from lightgbm.basic import LightGBMError
from mlflow.exceptions import MlflowException

from feature_repo.config import Config
from feature_repo.errors import ForesendError, NotReady
from feature_repo.history import duck
from feature_repo.history.build import build
from feature_repo.history.log import EventLog
from feature_repo.settings import Settings
from feature_repo.sole import only_one
from training.folds import TooFewRows
from training.reading import newest_received
from training.registry import Registry, open_registry
from training.run import train
from training.weekly.found import add_alias, add_tiers, evidence_of, find_done, mark, still_there
from training.weekly.page import write_report
from training.weekly.state import Moment, Outcome, Status, WeekState, load_state, save_state

LOCK: Final = "weekly"

_LEAK_CODE: Final = 1
_PATIENCE_S: Final = 3600.0
"""How long a build or an erasure that is under way may take."""

_WORST_FIRST: Final = (1, 2, 3, 4)

Progress = Callable[[str], None]

_DEFECTS: Final = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError),
    *(RuntimeError, TypeError, ValueError),
    *(duckdb.Error, DeltaError, FeastError, LightGBMError, MlflowException),
)
"""What a broken library or a mistake of ours looks like: the other targets do not pay for it."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Weekly:
    """What a weekly run left."""

    key: str
    #: Of every target that the week knows, in the order of foresend.yaml.
    outcomes: tuple[Outcome, ...]
    #: The targets that were asked for.
    asked: tuple[str, ...]
    page: Path
    document: Mapping[str, Any]

    @property
    def exit_code(self) -> int:
        """0 when all asked for passed; else the worst: 1 leak, 2 error, 3 gate, 4 not ready."""
        codes = {each.status.exit_code for each in self.outcomes if each.target in self.asked}
        return next((code for code in _WORST_FIRST if code in codes), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a weekly run is asked to do, and with what."""

    settings: Settings
    config: Config
    moment: Moment
    targets: Sequence[str]
    clock: Callable[[], datetime]
    progress: Progress
    #: Brings placement readings up to date; None: no source is configured.
    pull: Callable[[Progress], object] | None = None


def run_week(work: Work, *, force: bool = False) -> Weekly:
    """Do what is left of the week's work for the targets, and write the report.

    Raises:
        StoreUnavailable: another weekly run is at it, or a store does not answer.
    """
    with only_one(work.settings, LOCK):
        work.progress("MLflow")
        registry = open_registry(work.settings)
        state = load_state(work.settings, work.moment)
        left = [*work.targets] if force else _left(registry, state, work.targets)
        if left:
            state = _do(work, registry, state, left, force=force)
        named = dict.fromkeys([*work.config.targets, *work.targets])
        outcomes = tuple(state.outcomes[name] for name in named if name in state.outcomes)
        work.progress("the report")
        found = [(outcome, evidence_of(registry, outcome)) for outcome in outcomes]
        page, document = write_report(work.settings, state, found, work.clock())
        return Weekly(
            key=state.key,
            outcomes=outcomes,
            asked=tuple(work.targets),
            page=page,
            document=document,
        )


def _left(registry: Registry, state: WeekState, targets: Sequence[str]) -> list[str]:
    """The targets without a final outcome that MLflow still holds."""

    def is_done(name: str) -> bool:
        outcome = state.outcomes.get(name)
        return outcome is not None and outcome.status.is_final and still_there(registry, outcome)

    return [name for name in targets if not is_done(name)]


def _do(
    work: Work, registry: Registry, state: WeekState, left: Sequence[str], *, force: bool
) -> WeekState:
    """Prepare the features and do each target; the state is saved after every step."""
    state, as_of = _settle(work, state, force=force)
    save_state(work.settings, state)
    trouble = _prepare(work) if as_of else _NO_ROWS
    for name in left:
        outcome = None
        if as_of is not None and not force:
            outcome = find_done(registry, name, work.moment, as_of)
            if outcome is not None:
                add_alias(registry, outcome)
                add_tiers(registry, work.config, outcome)
        if outcome is None:
            outcome = _train(work, name, as_of, trouble)
            mark(registry, outcome, state.key)
        state = state.with_outcome(outcome)
        save_state(work.settings, state)
    state = replace(state, ended=True)
    save_state(work.settings, state)
    return state


_NO_ROWS: Final = "The event log has nothing to learn from. Import events: `foresend import FILE`."


def _settle(work: Work, state: WeekState, *, force: bool) -> tuple[WeekState, datetime | None]:
    """Fix what the targets that are left may know: the newest row up to the moment.

    A run that was killed goes on with what it had settled; one that ended looks again, because
    what was not ready then may be now.
    """
    if state.as_of is not None and not state.ended and not force:
        return state, datetime.fromisoformat(state.as_of)
    with duck.connect(work.settings) as con:
        newest = newest_received(con, EventLog(work.settings.log_path).snapshot())
    as_of = None if newest is None else min(newest, work.moment.at)
    told = None if as_of is None else as_of.isoformat()
    return replace(state, as_of=told, ended=False), as_of


def _prepare(work: Work) -> str | None:
    """Placement readings and features up to date; why nothing can be trained, if so."""
    if work.pull is not None:
        try:
            work.pull(work.progress)
        except (ForesendError, *_DEFECTS) as exc:
            # Placement that lags makes models a little worse; it stops none.
            log.warning("placement_not_pulled", why=str(exc))
    try:
        build(
            work.settings,
            # Never back: rows that exist are right for every earlier time, too.
            through=work.clock(),
            wait_s=_PATIENCE_S,
            progress=lambda step, share: work.progress(f"features: {step} {share:.0%}"),
        )
    except NotReady as exc:
        return str(exc)
    return None


def _train(work: Work, name: str, as_of: datetime | None, trouble: str | None) -> Outcome:
    """Train one target, whatever comes of it."""
    blank = Outcome(
        target=name, status=Status.NOT_READY, as_of="" if as_of is None else as_of.isoformat()
    )
    if trouble is not None:
        return replace(blank, reasons=(trouble,))
    started = monotonic()
    try:
        summary = train(
            work.settings,
            work.config.target(name),
            as_of=as_of,
            progress=lambda step: work.progress(f"{name}: {step}"),
        )
    except (NotReady, TooFewRows) as exc:
        return replace(blank, reasons=(str(exc),))
    except ForesendError as exc:
        leaks = exc.exit_code == _LEAK_CODE
        return replace(
            blank,
            status=Status.LEAK if leaks else Status.ERROR,
            reasons=(str(exc),),
            run_id=getattr(exc, "run_id", None),
        )
    except _DEFECTS as exc:
        log.error("training_failed", target=name, why=traceback.format_exc())
        return replace(blank, status=Status.ERROR, reasons=(f"{type(exc).__name__}: {exc}",))
    return _outcome(blank, summary, monotonic() - started)


def _outcome(blank: Outcome, summary: Mapping[str, Any], seconds: float) -> Outcome:
    passed = summary["gate"] == "passed"
    return replace(
        blank,
        status=Status.PASSED if passed else Status.GATE,
        as_of=summary["as_of"],
        reasons=tuple(summary["gate_failures"]),
        version=summary["version"],
        run_id=summary["run_id"],
        seconds=round(seconds, 1),
    )
