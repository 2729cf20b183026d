"""Moving `champion`: by a person, by the training, back again, and what was moved in MLflow itself.

`champion_previous` and `launch` move first and `champion` last, so there is no moment without a
champion, and whoever follows it finds the others in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from feature_repo.errors import UnusableInput
from training import trail
from training.gates.champion import load_version
from training.registry import CHALLENGER, CHAMPION, LAUNCH, PREVIOUS, Registry
from training.trail import Move

UNKNOWN = "unknown (moved in MLflow)"
"""Who moved an alias outside Foresend: MLflow does not keep it."""

Clock = Callable[[], datetime]


def promote(
    registry: Registry,
    target: str,
    number: str,
    *,
    by: str,
    clock: Clock,
    reason: str = "",
    force: bool = False,
    action: str = "promoted",
    over: frozenset[str | None] | None = None,
) -> dict[str, str]:
    """Make a version the champion; returns the aliases that are then set.

    Promoting the champion again changes nothing and is not written down; nor is anything changed
    when the champion is none of `over` (None: it may be any).

    Raises:
        UnusableInput: there is no such version, or its gates failed and nobody insists with a
            reason.
        ModelUnusable: its files cannot be loaded, so serving could not load them either.
    """
    version = registry.version(target, number)
    gate = version.tags.get("gate.status")
    if gate == "failed":
        _insist(target, number, version.tags.get("gate.failures", ""), force and bool(reason))
    load_version(registry, target, number)
    with registry.moving():
        _note(registry, target, clock)
        before = registry.aliases(target).get(CHAMPION)
        if before != number and (over is None or before in over):
            move = Move(
                at=clock(),
                who=by,
                action=action,
                before=before,
                after=number,
                reason=reason,
                run_id=version.run_id,
                gate=gate,
            )
            _move(registry, target, number, move)
    return registry.aliases(target)


def roll_back(
    registry: Registry, target: str, *, by: str, clock: Clock, reason: str = ""
) -> dict[str, str]:
    """Make the version before the champion again; returns the aliases that are then set.

    Raises:
        UnusableInput: there is no version before.
        ModelUnusable: its files cannot be loaded.
    """
    note_alias_changes(registry, clock, [target])
    aliases = registry.aliases(target)
    previous, now = aliases.get(PREVIOUS), aliases.get(CHAMPION)
    if previous is not None and previous == now:
        # A promotion that died half-way left it behind; the history knows who was before.
        moves = reversed(trail.history(registry, target))
        previous = next((m.before for m in moves if m.after == now and m.before), None)
    if previous is None:
        message = (
            f"{target!r} has no {PREVIOUS}: its champion was never another. "
            f"See `foresend models history {target}`; promote a version by its number."
        )
        raise UnusableInput(message)
    # It has been served, so its gates are not asked again.
    return promote(
        registry,
        target,
        previous,
        by=by,
        clock=clock,
        reason=reason or "rolled back",
        force=True,
        action="rolled_back",
    )


def note_alias_changes(
    registry: Registry, clock: Clock, targets: Sequence[str] | None = None
) -> list[tuple[str, Move]]:
    """Write down champions that were moved elsewhere, such as in MLflow's pages.

    Also sets what such a move left out: `champion_previous` and `launch`. Of several moves since
    the last look only the sum is seen. Returns target and move of each. Idempotent.

    Raises:
        StoreUnavailable: MLflow does not answer.
    """
    noticed = []
    for target in registry.targets() if targets is None else targets:
        with registry.moving():
            if (move := _note(registry, target, clock)) is not None:
                noticed.append((target, move))
    return noticed


def _note(registry: Registry, target: str, clock: Clock) -> Move | None:
    aliases = registry.aliases(target)
    champion = aliases.get(CHAMPION)
    moves = trail.history(registry, target)
    before = moves[-1].after if moves else None
    move = None
    if champion != before:
        version = None if champion is None else registry.version(target, champion)
        move = Move(
            at=clock(),
            who=UNKNOWN,
            action="noticed",
            before=before,
            after=champion,
            run_id=version.run_id if version else None,
            gate=version.tags.get("gate.status") if version else None,
        )
        _follow(registry, target, before, champion)
        trail.write(registry, target, move)
    elif champion is not None and aliases.get(LAUNCH) != champion:
        with registry.answering():
            registry.set_alias(target, LAUNCH, champion)
    return move


def _follow(registry: Registry, target: str, before: str | None, champion: str | None) -> None:
    """Set the other aliases as if the move had been made here."""
    if champion is None:
        return
    known = {str(version.version) for version in registry.versions(target)}
    with registry.answering():
        if before in known and before is not None:
            registry.set_alias(target, PREVIOUS, before)
        registry.set_alias(target, LAUNCH, champion)
        _release(registry, target, champion)


def _move(registry: Registry, target: str, number: str, move: Move) -> None:
    with registry.answering():
        if move.before is not None:
            registry.set_alias(target, PREVIOUS, move.before)
        registry.set_alias(target, LAUNCH, number)
        registry.set_alias(target, CHAMPION, number)
        for key, value in _tags(move).items():
            registry.client.set_model_version_tag(target, number, key, value)
    # A process that dies here leaves a move without a name; the next look notices it.
    trail.write(registry, target, move)
    with registry.answering():
        _release(registry, target, number)


def _release(registry: Registry, target: str, number: str) -> None:
    """A champion is no challenger."""
    if registry.aliases(target).get(CHALLENGER) == number:
        registry.client.delete_registered_model_alias(target, CHALLENGER)


def _tags(move: Move) -> dict[str, str]:
    """What the version's page shows of it."""
    return {
        "promoted.at": move.at.isoformat(),
        "promoted.by": move.who,
        "promoted.reason": move.reason[: trail.LONGEST_REASON],
    }


def _insist(target: str, number: str, failures: str, does: bool) -> None:
    if does:
        return
    message = (
        f"Version {number} of {target!r} did not pass its gates: {failures}. Train again, or "
        "promote it all the same with `--force --reason WHY`, which is kept in its history."
    )
    raise UnusableInput(message)
