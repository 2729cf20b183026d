"""Follows the alias `challenger` of each target. Whatever goes wrong here, champions serve on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from serving.preparing import Preparer, VersionRefused
from serving.promotion_metrics import PromotionMetrics
from serving.refusal import Refusal
from serving.registry import CHALLENGER, Version
from serving.served import Serving
from serving.trials import Trial

log = structlog.get_logger()


@dataclass
class ChallengerWatch:
    """The challengers of all targets that try one."""

    preparer: Preparer
    trials: Mapping[str, Trial]
    metrics: PromotionMetrics
    clock: Callable[[], datetime]
    _served: dict[str, Serving] = field(default_factory=dict)
    _refused: dict[str, Refusal] = field(default_factory=dict)

    def serving(self, target: str) -> Serving | None:
        """The challenger in use."""
        return self._served.get(target)

    def problem(self, target: str) -> str | None:
        """Why the version that is named is not in use."""
        refused = self._refused.get(target)
        return None if refused is None else refused.reason

    async def follow(self, target: str, champion: Version) -> None:
        """Look at the alias once.

        Raises:
            RegistryUnavailable: it cannot be asked; the challenger in use stays.
        """
        if not self.trials[target].is_on:
            return
        named = await self.preparer.registry.challenger(target)
        if named is None or named == champion:
            # A champion is no challenger; who was promoted has nothing left to show.
            self._use(target, None)
            self._refuse(target, None)
            return
        served, refused = self._served.get(target), self._refused.get(target)
        if served is not None and served.version == named:
            self._refuse(target, None)
            return
        if refused is not None and refused.version == named and not refused.is_over(self.clock()):
            return
        try:
            await self.preparer.fetch(named)
            serving = await self.preparer.ready(named, now=self.clock())
        except VersionRefused as exc:
            self._refuse(target, Refusal(named, self.clock(), str(exc)))
            return
        self._refuse(target, None)
        self._use(target, serving)

    def _use(self, target: str, serving: Serving | None) -> None:
        before = self._served.pop(target, None)
        if before is None and serving is None:
            return
        version = None if serving is None else serving.version
        if serving is not None:
            self._served[target] = serving
        self.metrics.challenger_served(version, None if before is None else before.version)
        number = None if version is None else version.number
        log.info("challenger_served", target=target, version=number)

    def _refuse(self, target: str, refusal: Refusal | None) -> None:
        self.metrics.problem.labels(target, CHALLENGER).set(refusal is not None)
        if refusal is None:
            self._refused.pop(target, None)
            return
        self._refused[target] = refusal
        log.error(
            "challenger_refused",
            target=target,
            version=refusal.version.number,
            reason=refusal.reason,
        )
