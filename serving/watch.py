"""Follows the champion of each target, and its approved tiers, without a restart
(docs/adr/0004-registry-watch.md, docs/adr/0020-doorbell-shadow-canary.md).

A version is downloaded, loaded, checked against its own examples and warmed beside the one in
use, then takes its place in one assignment. A version that fails changes nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import structlog

from serving.challenger_watch import ChallengerWatch
from serving.doorbell import Bell
from serving.errors import RegistryUnavailable
from serving.metrics import Metrics
from serving.preparing import Preparer, VersionRefused
from serving.refusal import RETRY_AFTER, Refusal
from serving.registry import CHAMPION, ModelRegistry, Version
from serving.served import FixedModel, Loader, Model, Route, Serving
from serving.shelf import Shelf
from serving.tier_watch import choose_policy, policy_at_hand
from serving.tiers import TierPolicy
from serving.trials import Trial

__all__ = ["FixedModel", "Loader", "Model", "ModelWatch", "Route", "Serving", "TargetState"]

RETRY_FAILED_AFTER: Final = RETRY_AFTER

LISTEN_S: Final = 0.2
"""Between two looks whether the doorbell was rung."""

log = structlog.get_logger()


@dataclass
class TargetState:
    """What is known of one target."""

    serving: Serving | None = None
    #: What the registry named last; None: nothing is promoted, or it was never asked.
    champion: Version | None = None
    refused: Refusal | None = None
    #: Why the approved tier policy of the version in use is not used.
    policy_problem: str | None = None
    route: Route | None = None

    @property
    def problem(self) -> str | None:
        """Why the champion named last is not in use."""
        return None if self.refused is None else self.refused.reason


@dataclass
class ModelWatch:
    """The models of all targets, kept up with the registry."""

    registry: ModelRegistry
    shelf: Shelf
    load: Loader
    targets: Sequence[str]
    metrics: Metrics
    clock: Callable[[], datetime]
    #: What challengers get, by target; defaults for those left out.
    trials: Mapping[str, Trial] = field(default_factory=dict)
    #: Ends the wait between two polls; None: nobody rings.
    bell: Bell | None = None
    states: dict[str, TargetState] = field(init=False)
    challengers: ChallengerWatch = field(init=False)
    #: When the registry last answered for all targets.
    polled_at: datetime | None = field(init=False, default=None)
    #: Why the registry's last poll failed; None: it did not.
    unavailable: str | None = field(init=False, default=None)
    _preparer: Preparer = field(init=False)

    def __post_init__(self) -> None:
        self.states = {target: TargetState() for target in self.targets}
        self.trials = {target: self.trials.get(target, Trial()) for target in self.targets}
        self._preparer = Preparer(self.registry, self.shelf, self.load)
        self.challengers = ChallengerWatch(
            self._preparer, self.trials, self.metrics.promotion, self.clock
        )

    def serving(self, target: str) -> Serving | None:
        """The champion in use for a target."""
        return self.states[target].serving

    def route(self, target: str) -> Route | None:
        """Who scores a target's customers now, None while no model is loaded for it. Take it once
        for a request: the next call may give another one.

        Raises:
            KeyError: the target is not one of `targets`.
        """
        return self.states[target].route

    async def start(self) -> None:
        """Serve what was served last, then look at the registry once."""
        for target in self.targets:
            version = await asyncio.to_thread(self.shelf.last, target)
            if version is not None:
                await self._activate(version, source="disk")
        await self.poll()

    async def run(self, every_s: float) -> None:
        """Poll for ever, and at once when the bell rings; with jitter, so that many servers do not
        ask at once."""
        while True:
            await self._wait(every_s * random.uniform(0.8, 1.2))
            await self.poll()

    async def _wait(self, left_s: float) -> None:
        while left_s > 0.0:
            await asyncio.sleep(min(LISTEN_S, left_s))
            left_s -= LISTEN_S
            if self.bell is not None and self.bell.rung():
                return

    async def poll(self) -> None:
        """Look at each alias once and follow it. Never raises for what a registry may do."""
        try:
            for target in self.targets:
                await self._follow_model(target)
                await self._follow_policy(target)
            # Afterwards: no champion waits for a challenger.
            for target in self.targets:
                await self._follow_challenger(target)
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

    async def _follow_model(self, target: str) -> None:
        state = self.states[target]
        champion = await self.registry.champion(target)
        if champion is None and state.champion is not None:
            log.warning("champion_removed", target=target, served=state.champion.number)
        state.champion = champion
        if champion is None or (state.serving and state.serving.version == champion):
            self._refuse(target, None)
            return
        refused = state.refused
        if refused and refused.version == champion and not refused.is_over(self.clock()):
            return
        try:
            await self._preparer.fetch(champion)
        except VersionRefused as exc:
            self._refuse(target, Refusal(champion, self.clock(), str(exc)))
            return
        await self._activate(champion, source="registry")

    async def _activate(self, version: Version, *, source: str) -> None:
        target = version.target
        state = self.states[target]
        try:
            fresh = await self._loaded(version)
        except VersionRefused as exc:
            self._refuse(target, Refusal(version, self.clock(), str(exc)))
            return
        before = state.serving
        held = before.policy if before else await asyncio.to_thread(self.shelf.policy, target)
        policy = policy_at_hand(version, held)
        if policy != held:
            await asyncio.to_thread(self._keep_policy, target, policy)
        serving = replace(fresh, policy=policy, loaded_at=self.clock())
        self._serve(target, serving)
        self._refuse(target, None)
        self.metrics.model_served(version, before.version if before else None)
        self.metrics.tiers.in_use(target, policy, is_current=serving.policy_is_current)
        log.info(
            "model_served",
            target=target,
            version=version.number,
            before=before.version.number if before else None,
            source=source,
        )

    async def _loaded(self, version: Version) -> Serving:
        """The version ready to serve, and remembered as the one served last."""
        beside = self.challengers.serving(version.target)
        if beside is not None and beside.version == version:
            serving = beside
        else:
            serving = await self._preparer.ready(version, now=self.clock())
        try:
            await asyncio.to_thread(
                self.shelf.mark, version, beside=None if beside is None else beside.version
            )
        except OSError as exc:
            # It serves all the same; after a restart the registry is asked for it.
            log.warning("model_not_remembered", target=version.target, reason=str(exc))
        return serving

    def _serve(self, target: str, serving: Serving) -> None:
        """Give the next requests this champion, and the challenger there is."""
        state, trial = self.states[target], self.trials[target]
        challenger = self.challengers.serving(target)
        if challenger is not None and challenger.version == serving.version:
            challenger = None
        state.serving = serving
        state.route = Route(serving, challenger, trial.canary, trial.shadow)

    async def _follow_challenger(self, target: str) -> None:
        state = self.states[target]
        if state.serving is None:
            return
        before = self.challengers.serving(target)
        await self.challengers.follow(target, state.champion or state.serving.version)
        if self.challengers.serving(target) is not before:
            self._serve(target, state.serving)

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
        self._serve(target, serving)
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

    def _refuse(self, target: str, refusal: Refusal | None) -> None:
        self.states[target].refused = refusal
        self.metrics.promotion.problem.labels(target, CHAMPION).set(refusal is not None)
        if refusal is None:
            return
        self.metrics.model_failures.labels(target).inc()
        number = refusal.version.number
        log.error("model_refused", target=target, version=number, reason=refusal.reason)
