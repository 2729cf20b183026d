"""Which tier policy answers: the served version's own once it is approved, else the last one.

A policy that nobody approved, or whose approval was withdrawn, is never chosen. A damaged one
changes nothing and is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serving.registry import ModelRegistry, Version
from serving.tiers import APPROVED, STATUS_TAG, BadPolicy, TierPolicy, approved_policy


@dataclass(frozen=True, slots=True)
class Choice:
    """The policy to answer with, and what is wrong with one that should have been it."""

    policy: TierPolicy | None
    problem: str | None = None


def policy_at_hand(version: Version, held: TierPolicy | None) -> TierPolicy | None:
    """The version's own policy if its tags have an approved one, else the one held so far."""
    try:
        return approved_policy(version) or held
    except BadPolicy:
        return held


async def choose_policy(
    registry: ModelRegistry, served: Version, held: TierPolicy | None
) -> Choice:
    """The policy for a served version whose tags are fresh, in this order:

    1. the version's own, if approved;
    2. the one held so far, unless its approval was withdrawn: a version that the registry lost
       was not withdrawn;
    3. the newest approved one of a version not newer than the served one, else the newest.

    Raises:
        RegistryUnavailable: it cannot be asked now.
    """
    problem = None
    try:
        own = approved_policy(served)
    except BadPolicy as exc:
        own, problem = None, str(exc)
    if own is not None:
        return Choice(own)
    if held is not None and not await _is_withdrawn(registry, served, held):
        return Choice(held, problem)
    approved = await registry.tagged(served.target, STATUS_TAG, APPROVED)
    return Choice(newest_approved(served, approved), problem)


def newest_approved(served: Version, approved: Sequence[Version]) -> TierPolicy | None:
    """The policy of the newest of these versions that is not newer than the served one, else of
    the newest; those that cannot be read are passed over."""
    newest_first = sorted(approved, key=lambda version: -version.order)
    newer = [version for version in newest_first if version.order > served.order]
    for version in (*newest_first[len(newer) :], *newer):
        policy = policy_at_hand(version, None)
        if policy is not None:
            return policy
    return None


async def _is_withdrawn(registry: ModelRegistry, served: Version, held: TierPolicy) -> bool:
    known: Version | None = served
    if not held.is_of(served):
        known = await registry.version(held.target, held.model_version)
    if known is None or not held.is_of(known):
        return False
    return known.tags.get(STATUS_TAG) != APPROVED
