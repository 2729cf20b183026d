"""Where a customer stands: what was told last, and what the rules say now, for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import redis

from feature_repo import online
from feature_repo.settings import Settings
from serving.routing.conditions import CONDITIONS, Case
from serving.routing.decide import (
    apply,
    decide,
    is_held_out,
    kept_by_placement,
    sends_counted,
)
from serving.routing.facts import Facts, FactsReader
from serving.routing.memory import Memory, read_memories
from serving.routing.message import Action, ActionKind
from serving.routing.settings import RoutingSettings, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One customer."""

    memory: Memory
    facts: Facts | None
    holdout: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposed:
    """The score a question is about; NaN when none was told yet."""

    target: str
    score: float
    tier: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at on the way to an action."""

    rule: str
    applies: bool
    #: Each comparison and whether it holds.
    compared: tuple[tuple[str, bool], ...]


def standing(
    settings: Settings,
    routing: RoutingSettings,
    client: redis.Redis,
    customer_id: str,
    now: datetime,
) -> Standing:
    """Of one customer.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    (facts,) = FactsReader(client, settings.project).read([customer_id], now)
    with online.answers():
        held = read_memories(client, settings.project, [customer_id])
    return Standing(
        memory=held[customer_id].memory,
        facts=facts,
        holdout=is_held_out(customer_id, routing),
    )


def action_of(
    customer_id: str,
    found: Standing,
    routing: RoutingSettings,
    used: Supposed,
    now: datetime,
) -> Action:
    """What would be answered now, with this score."""
    case = None
    if found.facts is not None:
        case = Case(facts=found.facts, score=used.score, tier=used.tier)
    return decide(customer_id, case, routing, sends=found.memory.sends, now=now).action


def steps(
    found: Standing, routing: RoutingSettings, used: Supposed, now: datetime
) -> Iterator[Step]:
    """What is looked at, in its order; the first that applies decides."""
    facts = found.facts or Facts()
    yield Step(
        "unsubscribed", facts.subscribed == 0.0, (("not subscribed", facts.subscribed == 0.0),)
    )
    for cap in routing.caps:
        count = sends_counted(facts, cap, found.memory.sends, now)
        text = f"{count} sends in {cap.days} days, {cap.sends} are allowed"
        yield Step("frequency_cap", count >= cap.sends, ((text, count >= cap.sends),))
    yield Step("holdout", found.holdout, (("held out of routing", found.holdout),))
    if found.facts is None:
        yield Step("unknown_customer", True, (("nothing is known of the customer", True),))
        return
    case = Case(facts=facts, score=used.score, tier=used.tier)
    yield from (_step(rule, case, now) for rule in routing.rules)
    yield Step("default", True, (("no rule speaks against it", True),))


def _step(rule: Rule, case: Case, now: datetime) -> Step:
    compared = [
        (CONDITIONS[word].told(case, limit), CONDITIONS[word].is_met(case, limit))
        for word, limit in rule.when.items()
    ]
    if rule.kind is ActionKind.SUNSET:
        kept = kept_by_placement(rule, case.facts)
        compared += [] if kept is None else [(kept, False)]
    applies = apply(rule, case, now) is not None
    if rule.kind is ActionKind.HOLD and rule.hold_days is None:
        compared.append(("another hour is clearly the best", applies))
    return Step(rule.name, applies, tuple(compared))
