"""From evidence to a verdict: which machine, by what, how surely."""

from __future__ import annotations

from collections.abc import Collection

from feature_repo.event import HUMAN_MACHINES, Machine
from feature_repo.ingest.machines.rules import PROVIDER, Rules


def judge(
    rules: Rules, found: Collection[str], verdict: Machine | None, confidence: float | None = None
) -> tuple[Machine, str | None, float | None]:
    """Machine, source and score by the names of the rules that hold and the provider's verdict.

    A machine by the provider's word is one. Else the weights are combined by noisy-or,
    1 - (1-w1)(1-w2)...; those for kinds of machine that the provider looked for, and did not find,
    are weakened. The order of `found` does not matter.
    """
    if verdict is not None and verdict not in HUMAN_MACHINES:
        return verdict, PROVIDER, 1.0 if confidence is None else confidence
    if not found and verdict is None:
        return Machine.NONE, None, None
    weakened = () if verdict is None else rules.provider_judges
    by_weight = sorted(
        (rules.by_name[name] for name in found), key=lambda rule: (-rule.weight, rule.name)
    )
    person = 1.0
    for rule in by_weight:
        factor = rules.against_provider if rule.machine in weakened else 1.0
        person *= 1.0 - rule.weight * factor
    # Six digits: the log compares scores at that, so a score that went through it is the same.
    score = round(1.0 - person, 6)
    names = [rule.name for rule in by_weight] + ([PROVIDER] if verdict is not None else [])
    machines = [rule.machine for rule in by_weight if not rule.is_proxy]
    if machines and score >= rules.threshold:
        return machines[0], "+".join(names), score
    proxies = [rule.machine for rule in by_weight if rule.is_proxy]
    if verdict is not None and verdict is not Machine.NONE:
        return verdict, "+".join(names), score
    return proxies[0] if proxies else Machine.NONE, "+".join(names), score


def add_evidence(
    rules: Rules, machine: Machine, source: str | None, found: Collection[str]
) -> tuple[Machine, str | None, float | None] | None:
    """The label an event has once `found` is added to its label; None when that changes nothing.

    Evidence is only ever added, so the label in the end does not depend on the order in which it
    was found, nor on how often. Evidence too weak to make a machine of a person changes nothing:
    it is found again when more of it has come.
    """
    parts = source.split("+") if source else []
    if parts == [PROVIDER] and machine not in HUMAN_MACHINES:
        return None
    # A rule that the installation has dropped since no longer weighs.
    known = {part for part in parts if part in rules.by_name}
    added = known.union(found)
    if added == known:
        return None
    verdict = None
    if PROVIDER in parts:
        # Whoever the provider said it was, it was no machine; a proxy keeps its name.
        verdict = machine if machine in HUMAN_MACHINES else Machine.NONE
    judged = judge(rules, added, verdict)
    return None if judged[0] is machine and machine in HUMAN_MACHINES else judged
