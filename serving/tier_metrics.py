"""What Prometheus may know of tiers: how many answers each got, and its share of late."""

from __future__ import annotations

import math
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import Final

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge

from serving.tiers import TierPolicy

MEMORY_ROWS: Final = 10_000
"""Answers after which one weighs 1/e of a new one in the share."""


@dataclass
class _Recent:
    """Decayed counts of one target's answers under one policy."""

    policy: TierPolicy
    #: Counter of each tier's answers; looking one up by labels costs more than counting.
    answers: dict[str | None, Counter]
    rows: float = 0.0
    by_tier: dict[str | None, float] = field(default_factory=dict)

    def share(self, name: str) -> float:
        """Share of a tier, NaN before the first answer."""
        return self.by_tier.get(name, 0.0) / self.rows if self.rows else math.nan

    def add(self, scored: Mapping[str | None, int]) -> None:
        """Count the answers of one batch."""
        rows = sum(scored.values())
        keep = math.exp(-rows / MEMORY_ROWS)
        self.rows = self.rows * keep + rows
        for name in self.policy.names:
            self.by_tier[name] = self.by_tier.get(name, 0.0) * keep + scored.get(name, 0)


class TierMetrics:
    """The series of tiers. `tier` has at most `serving.tiers.MOST_TIERS` values per policy."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter(
            "foresend_tier_answers",
            "Customers answered for, by tier.",
            ("target", "tier"),
            registry=registry,
        )
        self.share = Gauge(
            "foresend_tier_share",
            "Share of the tier among the last answers that a model computed (about 10,000).",
            ("target", "tier"),
            registry=registry,
        )
        self.expected = Gauge(
            "foresend_tier_share_expected",
            "Share of the tier on the rows its policy was proposed from.",
            ("target", "tier"),
            registry=registry,
        )
        self.policy = Gauge(
            "foresend_tier_policy_info",
            "1 for the policy in use; `current`: it is the served version's own.",
            ("target", "version", "current"),
            registry=registry,
        )
        self.problem = Gauge(
            "foresend_tier_policy_problem",
            "1 while the served version's approved policy is damaged and therefore not used.",
            ("target",),
            registry=registry,
        )
        self._recent: dict[str, _Recent] = {}
        self._shown: dict[str, tuple[str, str, str]] = {}

    def in_use(self, target: str, policy: TierPolicy | None, *, is_current: bool) -> None:
        """Show the policy that answers from now on."""
        before = self._recent.get(target)
        if policy is None or before is None or before.policy != policy:
            self._forget(target)
        if target in self._shown:
            self.policy.remove(*self._shown.pop(target))
        if policy is None:
            return
        labels = (target, policy.model_version, "yes" if is_current else "no")
        self.policy.labels(*labels).set(1)
        self._shown[target] = labels
        if target not in self._recent:
            self._begin(target, policy)

    def count(
        self, target: str, tiers: Sequence[str | None], modelled: npt.NDArray[np.bool_] | None
    ) -> None:
        """Count the answers of a batch; only scores that a model computed move the shares."""
        recent = self._recent.get(target)
        if recent is None:
            return
        answered = Tally(tiers)
        for name, rows in answered.items():
            # Unknown only when the policy changed while the request ran.
            if name in recent.answers:
                recent.answers[name].inc(rows)
        if modelled is None:
            return
        recent.add(answered if modelled.all() else Tally(compress(tiers, modelled.tolist())))

    def _begin(self, target: str, policy: TierPolicy) -> None:
        answers: dict[str | None, Counter] = {
            name: self.answers.labels(target, name) for name in policy.names
        }
        self._recent[target] = recent = _Recent(policy, answers)
        for name in policy.names:
            self.share.labels(target, name).set_function(partial(recent.share, name))
        for name, share in zip(policy.names, policy.shares or (), strict=False):
            self.expected.labels(target, name).set(share)

    def _forget(self, target: str) -> None:
        recent = self._recent.pop(target, None)
        if recent is None:
            return
        for name in recent.policy.names:
            self.share.remove(target, name)
        for name, _ in zip(recent.policy.names, recent.policy.shares or (), strict=False):
            self.expected.remove(target, name)
