"""What MLflow holds of the tiers of one model version, and how it changes (docs/tiers.md).

Tags of the version, beside those that serving reads (serving/tiers.py):

    tiers.pending   a newer proposal than the approved policy, which stays in force meanwhile
    tiers.history   the last decisions, oldest first, as far as a tag can hold them

Artifacts of its run:

    tiers/proposal.json, tiers/proposal.png    the newest proposal
    tiers/decisions/*.json                     every decision, whole, one file each
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mlflow.entities.model_registry import ModelVersion

from feature_repo.errors import NotReady
from serving.registry import Version
from serving.tier_watch import newest_approved
from serving.tiers import (
    APPROVED,
    AT_TAG,
    BY_TAG,
    POLICY_TAG,
    PROPOSED,
    REJECTED,
    STATUS_TAG,
    BadPolicy,
    TierPolicy,
    approved_policy,
)
from training.registry import CHALLENGER, CHAMPION, Registry
from training.tiers.proposal import TierProposal

PENDING_TAG: Final = "tiers.pending"
HISTORY_TAG: Final = "tiers.history"

LONGEST_TAG: Final = 4900
"""Characters of a tag's value; MLflow takes 5000."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A version and what was proposed and decided of its tiers."""

    target: str
    number: str
    run_id: str
    tags: Mapping[str, str]

    @property
    def status(self) -> str | None:
        """proposed, approved or rejected; None: nothing was ever proposed."""
        return self.tags.get(STATUS_TAG)

    @property
    def open(self) -> dict[str, Any] | None:
        """The policy that waits for a decision, None when none does."""
        if PENDING_TAG in self.tags:
            return _document(self.tags[PENDING_TAG])
        return _document(self.tags.get(POLICY_TAG)) if self.status == PROPOSED else None

    @property
    def latest(self) -> dict[str, Any] | None:
        """The policy that waits, else the one that was decided on last."""
        return self.open or _document(self.tags.get(POLICY_TAG))

    @property
    def history(self) -> list[dict[str, Any]]:
        """The last decisions, oldest first."""
        try:
            found = json.loads(self.tags.get(HISTORY_TAG, "[]"))
        except ValueError:
            return []
        return found if isinstance(found, list) else []


def standing_of(registry: Registry, target: str, number: str | None) -> Standing:
    """A version's standing; without a number that of the challenger if it is newer than the
    champion, else of the champion, else of the newest version.

    Raises:
        UnusableInput: the target has no such version.
        NotReady: it has no version at all.
    """
    if number is None:
        number = _usual_version(registry, target)
    version = registry.version(target, number)
    return Standing(target, number, str(version.run_id), dict(version.tags))


def _usual_version(registry: Registry, target: str) -> str:
    aliases = registry.aliases(target)
    champion, challenger = aliases.get(CHAMPION), aliases.get(CHALLENGER)
    if challenger is not None and (champion is None or int(challenger) > int(champion)):
        return challenger
    if champion is not None:
        return champion
    versions = registry.versions(target)
    if not versions:
        message = f"Nothing was trained for {target!r} yet. Run `foresend train {target}`."
        raise NotReady(message)
    return str(versions[0].version)


def policy_in_force(registry: Registry, target: str) -> tuple[TierPolicy | None, str | None]:
    """The policy that a server which starts now would use, and the champion's number."""
    champion = registry.aliases(target).get(CHAMPION)
    if champion is None:
        return None, None
    versions = [_as_served(version) for version in registry.versions(target)]
    served = next((version for version in versions if version.number == champion), None)
    if served is None:
        return None, champion
    try:
        own = approved_policy(served)
    except BadPolicy:
        own = None
    approved = [version for version in versions if version.tags.get(STATUS_TAG) == APPROVED]
    return own or newest_approved(served, approved), champion


def _as_served(version: ModelVersion) -> Version:
    return Version(
        str(version.name),
        str(version.version),
        version.run_id or None,
        str(version.source),
        dict(version.tags),
    )


def write_proposal(registry: Registry, standing: Standing, proposal: TierProposal) -> None:
    """Set the tags of a proposal; an approved policy stays what it is."""
    document = _text(proposal.policy())
    if standing.status == APPROVED:
        set_tags(registry, standing, {PENDING_TAG: document})
    else:
        # The status first: what is written after it is no approved policy at any moment.
        set_tags(registry, standing, {STATUS_TAG: PROPOSED, POLICY_TAG: document})


def write_approval(
    registry: Registry, standing: Standing, policy: Mapping[str, Any], by: str, at: datetime
) -> None:
    """Set the tags of an approval."""
    tags = {
        POLICY_TAG: _text(policy),
        BY_TAG: by,
        AT_TAG: at.isoformat(),
        # Last, so that a server that reads in between finds nothing half approved.
        STATUS_TAG: APPROVED,
    }
    set_tags(registry, standing, tags)
    _drop_pending(registry, standing)


def write_rejection(registry: Registry, standing: Standing, by: str, at: datetime) -> None:
    """Set the tags of a rejection: of what waits over an approved policy, else of the policy."""
    if PENDING_TAG in standing.tags:
        _drop_pending(registry, standing)
    else:
        set_tags(registry, standing, {STATUS_TAG: REJECTED, BY_TAG: by, AT_TAG: at.isoformat()})


def write_decision(registry: Registry, standing: Standing, decision: Mapping[str, Any]) -> None:
    """Append a decision to the audit trail: whole as an artifact, short to the tag."""
    with registry.answering():
        name = f"{decision['at'].replace(':', '')}-{decision['decision']}.json"
        registry.client.log_dict(standing.run_id, dict(decision), f"tiers/decisions/{name}")
    kept = [*standing.history, {k: v for k, v in decision.items() if k != "moves"}]
    while len(text := _text(kept)) > LONGEST_TAG and len(kept) > 1:
        kept.pop(0)
    set_tags(registry, standing, {HISTORY_TAG: text[:LONGEST_TAG]})


def set_tags(registry: Registry, standing: Standing, tags: Mapping[str, str]) -> None:
    """Set tags of a version, in order.

    Raises:
        StoreUnavailable: MLflow did not take them.
    """
    with registry.answering():
        for key, value in tags.items():
            registry.client.set_model_version_tag(standing.target, standing.number, key, value)


def _drop_pending(registry: Registry, standing: Standing) -> None:
    if PENDING_TAG in standing.tags:
        with registry.answering():
            registry.client.delete_model_version_tag(standing.target, standing.number, PENDING_TAG)


def _text(document: object) -> str:
    """JSON for a tag; letters of every language count once against its length."""
    return json.dumps(document, ensure_ascii=False)


def _document(text: str | None) -> dict[str, Any] | None:
    """The policy in a tag; None when there is none that can be read."""
    try:
        found = json.loads(text or "")
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"names", "cuts"} <= found.keys() else None
