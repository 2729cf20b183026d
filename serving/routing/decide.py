"""From a scored customer to what is to be done: pure, and the first rule that applies decides.

Before the rules of the file come, for everybody: who unsubscribed is not mailed, and no cap on
sends is passed. Then the customers who are held out of routing, so that its lift can be measured:
they are mailed as if there were no rules. A ghost, whose mail does not arrive, is never sunset,
whatever a rule says; nor is one of whom that is not known, unless the rule says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from feature_repo import naming
from serving.placement import is_ghost
from serving.routing.conditions import CONDITIONS, Case
from serving.routing.facts import Facts
from serving.routing.message import Action, ActionKind
from serving.routing.settings import Cap, RoutingSettings, Rule
from serving.shares import in_share

_DAY_S: Final = 86_400.0
_BLOCK_S: Final = _DAY_S / naming.BLOCKS


@dataclass(frozen=True, slots=True)
class Decision:
    """An action, and whether the customer is held out."""

    action: Action
    holdout: bool


def is_held_out(customer_id: str, settings: RoutingSettings) -> bool:
    """Whether the customer is never routed."""
    return in_share(customer_id, f"holdout:{settings.holdout_salt}", settings.holdout_share)


def decide(
    customer_id: str,
    case: Case | None,
    settings: RoutingSettings,
    *,
    sends: Sequence[float],
    now: datetime,
) -> Decision:
    """What to do about the next message to a customer; `case` is None when nothing is known.

    `now` is the moment of the send. `sends`: for when `send` was said before, epoch seconds,
    ascending.
    """
    holdout = is_held_out(customer_id, settings)
    if case is not None and case.facts.subscribed == 0.0:
        action = _act(ActionKind.SUPPRESS, "the customer is not subscribed", "unsubscribed")
        return Decision(action, holdout)
    capped = _capped(Facts() if case is None else case.facts, settings.caps, sends, now)
    if capped is not None:
        return Decision(capped, holdout)
    if holdout:
        reason = "held out of routing, so that its lift can be measured"
        return Decision(_act(ActionKind.SEND, reason, "holdout"), holdout)
    if case is None:
        reason = "nothing is known of the customer"
        return Decision(_act(ActionKind.SEND, reason, "unknown_customer"), holdout)
    for rule in settings.rules:
        action_or_none = apply(rule, case, now)
        if action_or_none is not None:
            return Decision(action_or_none, holdout)
    return Decision(_act(ActionKind.SEND, "no rule speaks against it", "default"), holdout)


def apply(rule: Rule, case: Case, now: datetime) -> Action | None:
    """What a rule says of a customer, None when it does not apply."""
    if rule.kind is ActionKind.SUNSET and kept_by_placement(rule, case.facts) is not None:
        return None
    if not all(CONDITIONS[word].is_met(case, limit) for word, limit in rule.when.items()):
        return None
    told = [CONDITIONS[word].told(case, limit) for word, limit in rule.when.items()]
    until = None
    if rule.kind is ActionKind.HOLD:
        if rule.hold_days is not None:
            until = now + timedelta(days=rule.hold_days)
        else:
            until = best_hour(case.facts, rule.least_share, now)
            if until is None:
                return None
            told.append("the customer's best hours begin then")
    return _act(rule.kind, "; ".join(told) or "applies to everybody", rule.name, until)


def kept_by_placement(rule: Rule, facts: Facts) -> str | None:
    """Why a rule that would sunset the customer must not, None when it may."""
    if is_ghost(facts.ghost):
        return "mail does not arrive, so the customer is not sunset"
    if math.isnan(facts.ghost) and not rule.without_placement:
        return "it is not known whether mail arrives, so the customer is not sunset"
    return None


def best_hour(facts: Facts, least_share: float, now: datetime) -> datetime | None:
    """When the customer's best block of the day begins next; None when that is now or not known."""
    if not facts.blocks or max(facts.blocks) < least_share:
        return None
    best = facts.blocks.index(max(facts.blocks))
    offset = 0.0 if math.isnan(facts.utc_offset_minutes) else facts.utc_offset_minutes * 60.0
    second = (now.timestamp() + offset) % _DAY_S
    if second // _BLOCK_S == best:
        return None
    return now + timedelta(seconds=(best * _BLOCK_S - second) % _DAY_S)


def sends_counted(facts: Facts, cap: Cap, sends: Sequence[float], now: datetime) -> int:
    """Sends in the days of a cap: our own decisions, and what the customer's counters know.

    The counters are of a midnight; of what others sent since then, only that it was at least one.
    """
    start = now.timestamp() - cap.days * _DAY_S
    own = len(_near(cap, sends, now))
    window = facts.sends.get(cap.days, math.nan)
    if math.isnan(window) or math.isnan(facts.counted_at) or facts.counted_at <= start:
        return max(own, int(facts.last_send_at > start))
    own_since = sum(at >= facts.counted_at for at in _near(cap, sends, now))
    since = own_since or int(facts.last_send_at >= facts.counted_at)
    return max(own, round(window) + since)


def _capped(
    facts: Facts, caps: Sequence[Cap], sends: Sequence[float], now: datetime
) -> Action | None:
    held: list[tuple[datetime, str]] = []
    for cap in caps:
        count = sends_counted(facts, cap, sends, now)
        if count >= cap.sends:
            days = "day" if cap.days == 1 else f"{cap.days} days"
            reason = f"{count} sends in the last {days}, and no more than {cap.sends} are allowed"
            held.append((_free_at(cap, sends, now), reason))
    if not held:
        return None
    until, reason = max(held)
    return _act(ActionKind.HOLD, reason, "frequency_cap", until)


def _free_at(cap: Cap, sends: Sequence[float], now: datetime) -> datetime:
    """When the next send is allowed as far as we know: our own go by their times, the customer's
    counters are made anew at midnight (UTC)."""
    own = _near(cap, sends, now)
    if len(own) >= cap.sends:
        return datetime.fromtimestamp(own[-cap.sends] + cap.days * _DAY_S, UTC)
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=1)


def _near(cap: Cap, sends: Sequence[float], now: datetime) -> list[float]:
    """Sends that share a window with one at `now`: before it, and after it when it is asked of a
    moment before one that was promised already."""
    days_s = cap.days * _DAY_S
    return [at for at in sends if abs(at - now.timestamp()) < days_s]


def _act(kind: ActionKind, reason: str, rule: str, until: datetime | None = None) -> Action:
    shown = None if until is None else until.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return Action(kind=kind, until=shown, reason=reason, rule=rule)
