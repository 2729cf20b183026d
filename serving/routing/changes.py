"""Customers whose features changed: scored anew, and told of when it matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from feature_repo.stream.online_parts import parts
from feature_repo.stream.port import Publisher
from serving.asks import Ask, AskedCustomer
from serving.routing import messages
from serving.routing.facts import Facts
from serving.routing.leases import Lease, Leases
from serving.routing.memory import Held, Intent, Memory, Told
from serving.routing.message import CHANGED
from serving.routing.scorer import Verdict
from serving.routing.tools import Tools
from serving.schemas import LONGEST_ID

MOST: Final = 500
"""Customers of one lease."""

ASK: Final = 64
"""Customers of one ask: as many as are scored at once beside single requests."""

Scores = Mapping[str, Mapping[str, Verdict]]
"""Verdicts by customer and target."""


@dataclass(slots=True)
class Changes:
    """Tells of changed scores in `score.changed`."""

    tools: Tools
    leases: Leases
    publisher: Publisher
    #: Taken in a round that failed; nobody else has them before it ends.
    _in_hand: Lease | None = None

    def tell(self) -> int:
        """Score customers that wait, tell of those whose score moved; how many were in hand.

        Raises:
            StoreUnavailable: a store does not answer. Those in hand are tried again.
        """
        lease = self._in_hand
        if lease is None or not self.leases.is_ours(lease):
            lease = self._in_hand = self.leases.take(MOST)
        if lease.since:
            self._tell(lease)
        self._in_hand = None
        return len(lease.since)

    def _tell(self, lease: Lease) -> None:
        customers = [*lease.since]
        now = self.tools.clock()
        scores, unscored = self._scores(customers)
        facts = dict(zip(customers, self.tools.facts.read(customers, now), strict=True))
        held = self.tools.book.read(customers)
        owing, lost = self._intend(customers, scores, facts, held, now)
        self._publish(owing)
        lost |= self.tools.book.settle(owing)
        # Of whom another router changed the memory meanwhile, nothing is certain. They come again
        # when the lease ends, as do those for whom a model has to be mended.
        self.leases.give_up(lease, [one for one in customers if one not in lost | unscored])
        self._count(lease, owing)

    def _scores(self, customers: Sequence[str]) -> tuple[Scores, set[str]]:
        """Scores, and the customers who lack one because a target's model fails on everybody."""
        usable = (AskedCustomer(one) for one in customers if 0 < len(one) <= LONGEST_ID)
        asked = [*parts(usable, ASK)]
        asks = [
            Ask(target=target, customers=part)
            for target in self.tools.settings.targets
            for part in asked
        ]
        scores: dict[str, dict[str, Verdict]] = {customer: {} for customer in customers}
        failed: dict[str, set[str]] = {target: set() for target in self.tools.settings.targets}
        working: set[str] = set()
        for ask, verdicts in zip(asks, self.tools.verdicts(asks), strict=True):
            if verdicts is None:
                self.tools.metrics.changes("no_model", len(ask.customers))
                continue
            for customer, verdict in zip(ask.customers, verdicts, strict=True):
                if verdict is None:
                    failed[ask.target].add(customer.customer_id)
                else:
                    scores[customer.customer_id][ask.target] = verdict
                    working.add(ask.target)
        self.tools.metrics.changes("failed", sum(map(len, failed.values())))
        broken = [failed[target] for target in failed if target not in working]
        return scores, set().union(*broken)

    def _intend(
        self,
        customers: Iterable[str],
        scores: Scores,
        facts: Mapping[str, Facts | None],
        held: Mapping[str, Held],
        now: datetime,
    ) -> tuple[dict[str, Held], set[str]]:
        """Memories, as they are in Redis now, of those of whom something is to be published; and
        those whose memory another router changed."""
        owing: dict[str, Held] = {}
        intents: list[Intent] = []
        for customer in customers:
            known = facts[customer]
            if known is None:
                self.tools.metrics.changes("unknown")
                continue
            before = held[customer].memory
            memory = self._after(customer, scores[customer], known, before, now)
            if memory is not before:
                intents.append(Intent(customer, held[customer], memory, {}))
            elif before.owed:
                owing[customer] = held[customer]
        intended = self.tools.book.intend(intents)
        owing |= {customer: new for customer, new in intended.items() if new is not None}
        return owing, {customer for customer, new in intended.items() if new is None}

    def _after(
        self,
        customer: str,
        scores: Mapping[str, Verdict],
        facts: Facts,
        memory: Memory,
        now: datetime,
    ) -> Memory:
        """The memory with all messages that are due; the same object when none is."""
        for target, verdict in scores.items():
            before = memory.told.get(target)
            if not is_news(before, verdict, self.tools.settings.score_change):
                self.tools.metrics.changes("small")
                continue
            seq = memory.next_seq(now)
            decision = self.tools.decide(customer, verdict, facts, sends=memory.sends, at=now)
            message = msgspec.structs.replace(
                messages.routed(
                    *(CHANGED, target, customer, verdict, decision),
                    seq=seq,
                    now=now,
                    valid=self.tools.valid,
                ),
                tier_before=None if before is None else before.tier,
                score_before=None if before is None else before.score,
            )
            memory = msgspec.structs.replace(
                memory,
                seq=seq,
                told={**memory.told, target: Told(verdict.score, verdict.tier)},
                owed=(*memory.owed, messages.pack(message)),
            )
        return memory

    def _publish(self, owing: Mapping[str, Held]) -> None:
        bodies = [(body, one) for one, held in owing.items() for body in held.memory.owed]
        if bodies:
            self.publisher.publish([b for b, _ in bodies], keys=[one for _, one in bodies])

    def _count(self, lease: Lease, owing: Mapping[str, Held]) -> None:
        at = self.tools.clock().timestamp()
        for customer, held in owing.items():
            self.tools.metrics.changes("told", len(held.memory.owed))
            self.tools.metrics.change_s.observe(max(0.0, at - lease.since[customer]))


def is_news(told: Told | None, verdict: Verdict, score_change: float) -> bool:
    """Whether a score is worth telling: the first one, another tier, or a large enough move.

    >>> verdict = Verdict(score=0.5, tier="high", model_version="1")
    >>> is_news(Told(0.46, "high"), verdict, 0.05), is_news(Told(0.49, "low"), verdict, 0.05)
    (False, True)
    """
    if told is None or told.tier != verdict.tier:
        return True
    return abs(told.score - verdict.score) >= score_change
