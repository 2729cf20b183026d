"""Proposing, approving and rejecting the tiers of a registered version."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from mlflow.exceptions import MlflowException

from feature_repo.errors import NotReady, UnusableInput
from serving.calibrator import FloatArray
from serving.model import ModelUnusable
from serving.tiers import REJECTED, BadPolicy, TierPolicy, checked
from training.registry import Registry
from training.result import Trained
from training.tiers.method import ScoredRows
from training.tiers.picture import draw_proposal
from training.tiers.proposal import TierProposal, proposal_from
from training.tiers.propose import InForce, propose, propose_own
from training.tiers.rules import TierRules
from training.tiers.sample import in_force_for, stored_sample
from training.tiers.standing import (
    Standing,
    policy_in_force,
    standing_of,
    write_approval,
    write_decision,
    write_proposal,
    write_rejection,
)

PROPOSAL_FILE: Final = "proposal.json"
FOLDER: Final = "tiers"
LONGEST_REASON: Final = 500
LONGEST_NAME: Final = 100


def propose_for(
    registry: Registry, trained: Trained, version: str, rules: TierRules | None = None
) -> TierProposal:
    """Propose tiers for a version that was just registered, from its whole test period.

    Raises:
        StoreUnavailable: MLflow does not answer.
    """
    target, test = trained.decided.target.name, trained.test
    standing = standing_of(registry, target, version)
    _, customer = np.unique(test.customer.astype(str), return_inverse=True)
    rows = ScoredRows(
        score=trained.judged.score,
        weight=test.weight,
        customer=customer.astype(np.int64),
        label=test.label.astype(np.float64),
    )
    policy, champion = policy_in_force(registry, target)
    in_force = None
    if policy is not None:
        known = trained.champion
        scores: FloatArray | None = None
        if champion == version:
            scores = rows.score
        elif known is not None and known.version == champion:
            try:
                scores = known.score(test)
            except ModelUnusable:
                scores = None
        in_force = InForce(policy, scores)
    proposal = propose(
        target, version, rows, rules or TierRules(), in_force=in_force, seed=trained.seed
    )
    return _store(registry, standing, proposal)


def propose_version(
    registry: Registry, target: str, number: str | None, rules: TierRules, *, seed: int = 0
) -> TierProposal:
    """Propose tiers for a registered version, from the sample stored with it.

    Raises:
        UnusableInput: the target has no such version.
        NotReady: the version has no usable sample.
        StoreUnavailable: MLflow does not answer.
    """
    standing = standing_of(registry, target, number)
    sample = stored_sample(registry, standing)
    in_force = in_force_for(registry, standing, sample)
    proposal = propose(target, standing.number, sample.rows, rules, in_force=in_force, seed=seed)
    return _store(registry, standing, proposal)


def _store(registry: Registry, standing: Standing, proposal: TierProposal) -> TierProposal:
    """The artifacts first: a tag never tells of a proposal that cannot be looked at."""
    _log_artifacts(registry, standing, proposal)
    with registry.moving():
        # Looked at again: somebody may have decided while the proposal was made.
        now = standing_of(registry, standing.target, standing.number)
        write_proposal(registry, now, proposal)
    return proposal


def _log_artifacts(registry: Registry, standing: Standing, proposal: TierProposal) -> None:
    with tempfile.TemporaryDirectory(prefix="foresend-tiers-") as name, registry.answering():
        folder = Path(name)
        (folder / PROPOSAL_FILE).write_text(json.dumps(proposal.as_dict(), indent=1))
        draw_proposal(folder / "proposal.png", proposal)
        registry.client.log_artifacts(standing.run_id, str(folder), FOLDER)


def stored_proposal(registry: Registry, standing: Standing) -> TierProposal | None:
    """The newest proposal of a version, None when there is none that can be read."""
    with tempfile.TemporaryDirectory(prefix="foresend-tiers-") as folder:
        try:
            found = registry.client.download_artifacts(
                standing.run_id, f"{FOLDER}/{PROPOSAL_FILE}", folder
            )
            return proposal_from(json.loads(Path(found).read_text()))
        except (MlflowException, OSError, ValueError, KeyError, TypeError):
            return None


def approve(
    registry: Registry,
    target: str,
    number: str | None,
    *,
    by: str,
    at: datetime,
    names: Sequence[str] | None = None,
    cuts: Sequence[float] | None = None,
) -> TierPolicy:
    """Approve what is proposed for a version, with an owner's own names or cuts if given.

    Raises:
        UnusableInput: there is no such version, or the names and cuts make no policy.
        NotReady: nothing is proposed.
        StoreUnavailable: MLflow does not answer.
    """
    by = _person(by)
    standing = standing_of(registry, target, number)
    policy = standing.latest
    if policy is None and (names is None or cuts is None):
        message = (
            f"{target} version {standing.number} has no tier proposal. Make one with `foresend "
            f"tiers propose {target} --version {standing.number}`."
        )
        raise NotReady(message)
    proposed, edited = policy, names is not None or cuts is not None
    if edited:
        policy = _edited(registry, standing, policy or {}, names, cuts, by)
    assert policy is not None
    own_names, own_cuts = _checked(policy["names"], policy["cuts"])
    decision = {
        "at": at.astimezone(UTC).isoformat(),
        "by": by,
        "decision": "approved",
        "names": list(own_names),
        "cuts": list(own_cuts),
        "method": policy.get("method"),
        "proposed": {key: proposed[key] for key in ("names", "cuts")}
        if edited and proposed
        else None,
    }
    with registry.moving():
        # The trail first: what is in force is in it.
        write_decision(registry, standing, decision)
        write_approval(registry, standing, policy, by, at)
    return TierPolicy(target, standing.number, standing.run_id, own_names, own_cuts, by, at)


def reject(
    registry: Registry, target: str, number: str | None, *, by: str, reason: str, at: datetime
) -> Standing:
    """Reject what is proposed for a version or, when nothing is, withdraw its approval.

    Raises:
        UnusableInput: there is no such version, or no reason.
        NotReady: nothing is proposed or approved.
        StoreUnavailable: MLflow does not answer.
    """
    by, reason = _person(by), reason.strip()
    if not reason or len(reason) > LONGEST_REASON:
        message = f"--reason has {len(reason)} characters; say why in 1 to {LONGEST_REASON}."
        raise UnusableInput(message)
    standing = standing_of(registry, target, number)
    policy = standing.latest
    if policy is None or standing.status == REJECTED:
        message = (
            f"{target} version {standing.number} has nothing to reject: its tiers are "
            f"{standing.status or 'not proposed'}. See `foresend tiers show {target}`."
        )
        raise NotReady(message)
    decision = {
        "at": at.astimezone(UTC).isoformat(),
        "by": by,
        "decision": "rejected" if standing.open else "withdrawn",
        "names": policy["names"],
        "cuts": policy["cuts"],
        "reason": reason,
    }
    with registry.moving():
        write_rejection(registry, standing, by, at)
        write_decision(registry, standing, decision)
    return standing_of(registry, target, standing.number)


def _edited(
    registry: Registry,
    standing: Standing,
    policy: dict[str, Any],
    names: Sequence[str] | None,
    cuts: Sequence[float] | None,
    by: str,
) -> dict[str, Any]:
    """The policy with an owner's names or cuts, measured on the stored sample."""
    wanted = policy.get("names", ()) if names is None else names
    places = policy.get("cuts", ()) if cuts is None else cuts
    own_names, own_cuts = _checked(wanted, places)
    sample = stored_sample(registry, standing)
    proposal = propose_own(
        standing.target,
        standing.number,
        sample.rows,
        own_names,
        own_cuts,
        by=by,
        in_force=in_force_for(registry, standing, sample),
    )
    _log_artifacts(registry, standing, proposal)
    return proposal.policy()


def _checked(names: object, cuts: object) -> tuple[tuple[str, ...], tuple[float, ...]]:
    try:
        return checked(names, cuts)
    except BadPolicy as exc:
        message = f"These tiers cannot be approved: {exc}."
        raise UnusableInput(message) from exc


def _person(by: str) -> str:
    by = by.strip()
    if not by or len(by) > LONGEST_NAME or not by.isprintable():
        message = f"--by has value {by!r}; give the name of who decides, 1 to {LONGEST_NAME} signs."
        raise UnusableInput(message)
    return by
