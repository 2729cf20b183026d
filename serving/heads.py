"""What an answer says once for all its customers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.answers import Answer, ModelAnswer, ScoreAnswer, TierPolicyAnswer
from serving.asks import Ask
from serving.scoring import iso, iso_moment
from serving.served import Route, Serving


@dataclass(slots=True)
class Heads:
    """Answers of one process; of each target, the description of its champion is kept."""

    _held: dict[str, tuple[Serving, ModelAnswer, TierPolicyAnswer | None]] = field(
        default_factory=dict
    )

    def answer(
        self, ask: Ask, route: Route, send_at: float, scores: Sequence[ScoreAnswer]
    ) -> Answer:
        """The answer to a request; `send_at` in epoch seconds."""
        held = self._held.get(ask.target)
        if held is None or held[0] is not route.champion:
            champion = route.champion
            held = self._held[ask.target] = (champion, _model(champion), _policy(champion))
        moment = iso_moment(send_at)
        return Answer(ask.request_id, ask.target, moment, held[1], held[2], scores)


def _model(serving: Serving) -> ModelAnswer:
    version = serving.version
    return ModelAnswer(version.target, version.number, version.run_id, iso(serving.loaded_at))


def _policy(serving: Serving) -> TierPolicyAnswer | None:
    policy = serving.policy
    if policy is None:
        return None
    return TierPolicyAnswer(
        policy.model_version,
        policy.approved_by,
        iso(policy.approved_at),
        serving.policy_is_current,
        policy.names,
        policy.cuts,
    )
