"""Whether requests should be sent here, and why not.

* `not_ready` (503): stopping; or a promoted model is not loaded; or no model is loaded at all; or
  the feature store has never answered this process.
* `degraded` (200): the store answered before and does not now, so answers are declared degraded;
  or the registry does not answer, so promotions are not seen; or a promoted version was refused,
  so the one before it goes on; or an approved tier policy is damaged, so the last one goes on;
  or the prediction log is not written any more.
  Were this 503, every server would leave the load balancer at once, and callers would have errors
  in place of declared answers.
* `ready` (200).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from feature_repo.errors import StoreUnavailable
from serving.prediction_writer import PredictionWriter
from serving.scoring import iso
from serving.store import FeatureStore
from serving.watch import ModelWatch, TargetState


@dataclass
class Health:
    """The state that readiness is told from."""

    watch: ModelWatch
    store: FeatureStore
    predictions: PredictionWriter
    stopping: bool = False
    _store_answered: bool = False

    def stop(self) -> bool:
        """Say from now on that the server is stopping; whether it had been said before."""
        before, self.stopping = self.stopping, True
        return before

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether to send requests, and the document that says why."""
        store_problem = await self._store_problem()
        blocking = self._blocking()
        if store_problem is not None and not self._store_answered:
            blocking.append(store_problem)
            milder = []
        else:
            milder = [store_problem] if store_problem is not None else []
        if self.predictions.problem is not None:
            milder.append(self.predictions.problem)
        if self.watch.unavailable is not None:
            milder.append(self.watch.unavailable)
        for state in self.watch.states.values():
            if state.problem is not None and state.serving is not None:
                milder.append(f"{state.problem} Version {state.serving.version.number} serves on.")
            if state.policy_problem is not None:
                milder.append(state.policy_problem)
        status = "not_ready" if blocking else "degraded" if milder else "ready"
        return not blocking, {
            "status": status,
            "reasons": [*blocking, *milder],
            "models": {name: _told(state) for name, state in self.watch.states.items()},
            "tiers": {name: _tiers(state) for name, state in self.watch.states.items()},
            "registry": self._registry(),
            "store": {"answers": store_problem is None},
        }

    def _blocking(self) -> list[str]:
        reasons = ["The server is stopping."] if self.stopping else []
        for target, state in self.watch.states.items():
            if state.champion is not None and state.serving is None:
                problem = state.problem or "it is being loaded"
                reasons.append(
                    f"Champion {state.champion.number} of {target!r} is not loaded: {problem}"
                )
        if all(state.serving is None for state in self.watch.states.values()):
            reasons.append("No model is loaded: no target has a champion that could be loaded.")
        return reasons

    async def _store_problem(self) -> str | None:
        try:
            await self.store.ping()
        except StoreUnavailable as exc:
            return str(exc)
        self._store_answered = True
        return None

    def _registry(self) -> dict[str, Any]:
        polled = self.watch.polled_at
        return {
            "answers": self.watch.unavailable is None and polled is not None,
            "polled_at": None if polled is None else iso(polled),
        }


def _told(state: TargetState) -> dict[str, Any]:
    serving = state.serving
    return {
        "champion": None if state.champion is None else state.champion.number,
        "served": None if serving is None else serving.version.number,
        "loaded_at": None if serving is None else iso(serving.loaded_at),
        "problem": state.problem,
    }


def _tiers(state: TargetState) -> dict[str, Any]:
    serving = state.serving
    policy = None if serving is None else serving.policy
    return {
        "model_version": None if policy is None else policy.model_version,
        "is_current": serving is not None and serving.policy_is_current,
        "problem": state.policy_problem,
    }
