"""Follows the champion of each target, and its approved tiers, without a restart
(docs/adr/0004-registry-watch.md).

A version is downloaded, loaded, checked against its own examples and warmed beside the one in
use, then takes its place in one assignment. A version that fails changes nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import structlog

from feature_repo import contract, transforms
from feature_repo.errors import ForesendError
from serving.encoder import Columns
from serving.errors import RegistryUnavailable
from serving.metrics import Metrics
from serving.registry import ModelRegistry, Version
from serving.shelf import Shelf
from serving.store import scoring_layout
from serving.tier_watch import choose_policy, policy_at_hand
from serving.tiers import TierPolicy

RETRY_FAILED_AFTER: Final = timedelta(minutes=1)
_SERVED: Final = frozenset(
    (*transforms.SEND_TIME, *(name for view in scoring_layout("").views.values() for name in view))
)

log = structlog.get_logger()


class Model(Protocol):
    """What serving needs of a model; `serving.model.ScoringModel` is one."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns `predict` reads."""

    @property
    def categorical(self) -> tuple[str, ...]:
        """Those of them that are texts."""

    @property
    def feature_service(self) -> str:
        """The Feast feature service it was trained with."""

    @property
    def base_rate(self) -> float:
        """Share of positives among its training rows."""

    def predict(self, columns: Columns) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Probability per row."""


@dataclass(frozen=True, slots=True)
class FixedModel:
    """A model that gives every row the same score, for tests and trials."""

    score: float = 0.25
    base_rate: float = 0.05
    feature_names: tuple[str, ...] = ("opens_30d", "country", "hours_since_last_open")
    categorical: tuple[str, ...] = ("country",)
    feature_service: str = contract.FEATURE_SERVICE

    def predict(self, columns: Columns) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """The score, once per row; a column that is missing is an error, as with a real model."""
        rows = {len(columns[name]) for name in self.feature_names}
        return np.full(max(rows), self.score)


Loader = Callable[[Path], Model]
"""Model of a folder; raises ForesendError when it cannot be used."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A model in use. Requests take one reference and keep it to their end."""

    version: Version
    model: Model
    loaded_at: datetime
    #: The approved tiers in use, of this version or of an earlier one; None: nothing is approved.
    policy: TierPolicy | None = None

    @property
    def policy_is_current(self) -> bool:
        """Whether the tiers in use were approved for the very version that scores."""
        return self.policy is not None and self.policy.is_of(self.version)


@dataclass
class TargetState:
    """What is known of one target."""

    serving: Serving | None = None
    #: What the registry named last; None: nothing is promoted, or it was never asked.
    champion: Version | None = None
    problem: str | None = None
    failed: Version | None = None
    failed_at: datetime | None = None
    #: Why the approved tier policy of the version in use is not used.
    policy_problem: str | None = None


@dataclass
class ModelWatch:
    """The models of all targets, kept up with the registry."""

    registry: ModelRegistry
    shelf: Shelf
    load: Loader
    targets: Sequence[str]
    metrics: Metrics
    clock: Callable[[], datetime]
    states: dict[str, TargetState] = field(init=False)
    #: When the registry last answered for all targets.
    polled_at: datetime | None = field(init=False, default=None)
    #: Why the registry's last poll failed; None: it did not.
    unavailable: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.states = {target: TargetState() for target in self.targets}

    def serving(self, target: str) -> Serving | None:
        """The model in use for a target."""
        return self.states[target].serving

    async def start(self) -> None:
        """Serve what was served last, then look at the registry once."""
        for target in self.targets:
            version = await asyncio.to_thread(self.shelf.last, target)
            if version is not None:
                await self._activate(version, source="disk")
        await self.poll()

    async def run(self, every_s: float) -> None:
        """Poll for ever; with jitter, so that many servers do not ask at once."""
        while True:
            await asyncio.sleep(every_s * random.uniform(0.8, 1.2))
            await self.poll()

    async def poll(self) -> None:
        """Look at each alias once and follow it. Never raises for what a registry may do."""
        for target in self.targets:
            try:
                await self._follow(target)
            except RegistryUnavailable as exc:
                self.metrics.registry_failures.inc()
                if self.unavailable is None:
                    log.warning("registry_unavailable", reason=str(exc))
                self.unavailable = str(exc)
                return
        if self.unavailable is not None:
            log.info("registry_back")
        self.unavailable = None
        self.polled_at = self.clock()
        self.metrics.registry_polled.set(self.polled_at.timestamp())

    async def _follow(self, target: str) -> None:
        await self._follow_model(target)
        await self._follow_policy(target)

    async def _follow_model(self, target: str) -> None:
        state = self.states[target]
        champion = await self.registry.champion(target)
        if champion is None and state.champion is not None:
            log.warning("champion_removed", target=target, served=state.champion.number)
        state.champion = champion
        if champion is None or self._is_served(state, champion):
            state.problem = None
            return
        if champion == state.failed and not self._may_retry(state):
            return
        try:
            if await asyncio.to_thread(self.shelf.folder, champion) is None:
                files = await self.registry.files(champion)
                await asyncio.to_thread(self.shelf.keep, champion, files)
        except (OSError, ValueError) as exc:
            self._failed(champion, f"{target} version {champion.number} cannot be stored: {exc}")
            return
        except RegistryUnavailable as exc:
            # The registry answered just now: these files are missing, not the registry, and the
            # policy of what is served is followed all the same.
            self._failed(champion, f"{target} version {champion.number} cannot be read: {exc}")
            return
        await self._activate(champion, source="registry")

    async def _activate(self, version: Version, *, source: str) -> None:
        try:
            model = await asyncio.to_thread(self._ready_model, version)
        except ForesendError as exc:
            await asyncio.to_thread(self.shelf.forget, version)
            self._failed(version, str(exc))
            return
        target = version.target
        state = self.states[target]
        before = state.serving
        held = before.policy if before else await asyncio.to_thread(self.shelf.policy, target)
        policy = policy_at_hand(version, held)
        if policy != held:
            await asyncio.to_thread(self._keep_policy, target, policy)
        serving = Serving(version, model, self.clock(), policy)
        state.serving = serving
        state.problem, state.failed, state.failed_at = None, None, None
        self.metrics.model_served(version, before.version if before else None)
        self.metrics.tiers.in_use(target, serving.policy, is_current=serving.policy_is_current)
        log.info(
            "model_served",
            target=target,
            version=version.number,
            before=before.version.number if before else None,
            source=source,
        )

    async def _follow_policy(self, target: str) -> None:
        """Approvals change while the alias does not, so this is asked at every poll."""
        state = self.states[target]
        serving, champion = state.serving, state.champion
        if serving is None:
            return
        served: Version | None = champion
        if champion != serving.version:
            served = await self.registry.version(target, serving.version.number)
        if served is None or served != serving.version:
            # The registry has lost it; what was approved stays.
            return
        choice = await choose_policy(self.registry, served, serving.policy)
        if choice.problem is not None and choice.problem != state.policy_problem:
            log.error("tier_policy_refused", target=target, reason=choice.problem)
        state.policy_problem = choice.problem
        self.metrics.tiers.problem.labels(target).set(choice.problem is not None)
        if choice.policy != serving.policy:
            await self._use_policy(serving, choice.policy)

    async def _use_policy(self, serving: Serving, policy: TierPolicy | None) -> None:
        target = serving.version.target
        serving = replace(serving, policy=policy)
        self.states[target].serving = serving
        self.metrics.tiers.in_use(target, policy, is_current=serving.policy_is_current)
        log.info(
            "tier_policy_used",
            target=target,
            version=policy.model_version if policy else None,
            is_current=serving.policy_is_current,
        )
        await asyncio.to_thread(self._keep_policy, target, policy)

    def _keep_policy(self, target: str, policy: TierPolicy | None) -> None:
        try:
            self.shelf.keep_policy(target, policy)
        except OSError as exc:
            # It answers all the same; after a restart it is asked for once more.
            log.warning("tier_policy_not_kept", target=target, reason=str(exc))

    def _ready_model(self, version: Version) -> Model:
        """The version's model, loaded, checked and warm, and remembered as the last good one."""
        folder = self.shelf.folder(version)
        if folder is None:
            message = f"{version.target} version {version.number} is not on disk."
            raise ForesendError(message)
        model = self.load(folder)
        unknown = sorted(set(model.feature_names) - _SERVED)
        if unknown:
            message = (
                f"{version.target} version {version.number} was trained on features this version "
                f"of Foresend does not serve: {', '.join(unknown)}. Train it again."
            )
            raise ForesendError(message)
        for rows in (1, 2):
            model.predict(empty_columns(model, rows))
        self.shelf.mark(version)
        return model

    def _failed(self, version: Version, reason: str) -> None:
        state = self.states[version.target]
        state.problem, state.failed, state.failed_at = reason, version, self.clock()
        self.metrics.model_failures.labels(version.target).inc()
        log.error("model_refused", target=version.target, version=version.number, reason=reason)

    def _is_served(self, state: TargetState, champion: Version) -> bool:
        return state.serving is not None and state.serving.version == champion

    def _may_retry(self, state: TargetState) -> bool:
        return state.failed_at is None or self.clock() - state.failed_at >= RETRY_FAILED_AFTER


def empty_columns(model: Model, rows: int) -> Columns:
    """Columns of a model in which everything is missing."""
    return {
        name: np.full(rows, None, dtype=object)
        if name in model.categorical
        else np.full(rows, np.nan)
        for name in model.feature_names
    }
