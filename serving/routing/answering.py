"""From requests to answers that are intended and only have to be published."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Final

import msgspec

from feature_repo.stream.online_parts import parts
from serving.asks import Ask, AskedCustomer
from serving.routing import messages
from serving.routing.changes import ASK
from serving.routing.facts import Facts
from serving.routing.memory import Intent, Memory
from serving.routing.message import RESULTS, ActionKind, ScoreAsked
from serving.routing.messages import epoch_of
from serving.routing.scorer import Verdict
from serving.routing.tools import ROUNDS, Tools, too_many_races

_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is in Redis, too, under `key`."""

    key: str
    body: bytes


class Fails(Enum):
    """Says that the model of the target fails on this customer, and works for others."""

    FAILS = 0


FAILS: Final = Fails.FAILS


@dataclass
class Answering:
    """Answers one batch of requests at a moment."""

    tools: Tools
    now: datetime
    _done: dict[int, Answer] = field(default_factory=dict)
    _failed: set[int] = field(default_factory=set)

    def answers(self, asked: Sequence[ScoreAsked]) -> list[Answer | Fails | None]:
        """The answer of each request; None: its target has no usable model yet.

        Raises:
            StoreUnavailable: a store does not answer. Answers that were intended stay so.
        """
        book = self.tools.book
        keys = [book.answer_key(one.customer_id, one.target, one.id) for one in asked]
        first: dict[str, int] = {}
        for place, key in enumerate(keys):
            first.setdefault(key, place)
        self._work(asked, keys, [*first.values()])
        found = [self._outcome(first[key]) for key in keys]
        copies = sum(first[key] != i and found[i] is not None for i, key in enumerate(keys))
        self.tools.metrics.requests("repeated", copies)
        return found

    def _outcome(self, place: int) -> Answer | Fails | None:
        return FAILS if place in self._failed else self._done.get(place)

    def _work(
        self, asked: Sequence[ScoreAsked], keys: Sequence[str], places: Sequence[int]
    ) -> None:
        """Answer the requests at these places, each of which has a key of its own."""
        self._recall(places, keys)
        places = [place for place in places if place not in self._done]
        verdicts = self._verdicts(asked, places)
        left = {place: asked[place] for place in verdicts}
        customers = list(dict.fromkeys(one.customer_id for one in left.values()))
        read = self.tools.facts.read(customers, self.now)
        facts = dict(zip(customers, read, strict=True))
        for _ in range(ROUNDS):
            if not left:
                return
            self._intend(left, keys, verdicts, facts)
            left = {place: one for place, one in left.items() if place not in self._done}
            # Whoever was quicker may have been so with the same request.
            self._recall([*left], keys)
            left = {place: one for place, one in left.items() if place not in self._done}
        raise too_many_races(len(left))

    def _recall(self, places: Sequence[int], keys: Sequence[str]) -> None:
        """Take answers that were intended before as they are."""
        found = self.tools.book.answers([keys[place] for place in places])
        for place, body in zip(places, found, strict=True):
            if body is not None:
                self._done[place] = Answer(keys[place], body)
                self.tools.metrics.requests("repeated")

    def _verdicts(
        self, asked: Sequence[ScoreAsked], places: Sequence[int]
    ) -> Mapping[int, Verdict]:
        """Verdicts of the requests whose target has a model that works for them."""
        groups: dict[tuple[str, float | None], list[int]] = defaultdict(list)
        for place in places:
            groups[asked[place].target, self._ahead(asked[place])].append(place)
        chunks = [(key, part) for key, places in groups.items() for part in parts(places, ASK)]
        asks = [
            Ask(
                target=target,
                send_at=send_at,
                customers=[_customer(asked[place]) for place in part],
            )
            for (target, send_at), part in chunks
        ]
        found: dict[int, Verdict] = {}
        working: set[str] = set()
        unscored: list[int] = []
        for ((target, _), part), verdicts in zip(chunks, self.tools.verdicts(asks), strict=True):
            for place, verdict in zip(part, verdicts or [None] * len(part), strict=True):
                if verdict is None:
                    unscored.append(place)
                else:
                    found[place] = verdict
                    working.add(target)
        # A model that works for others and not for one is not waited for.
        self._failed |= {place for place in unscored if asked[place].target in working}
        self.tools.metrics.requests("no_model", len(unscored) - len(self._failed))
        return found

    def _ahead(self, asked: ScoreAsked) -> float | None:
        """The moment of the send if it is to come; one that has passed is now."""
        at = None if asked.send_at is None else epoch_of(asked.send_at)
        return at if at is not None and at > self.now.timestamp() else None

    def _intend(
        self,
        left: Mapping[int, ScoreAsked],
        keys: Sequence[str],
        verdicts: Mapping[int, Verdict],
        facts: Mapping[str, Facts | None],
    ) -> None:
        by_customer: dict[str, list[int]] = defaultdict(list)
        for place, one in left.items():
            by_customer[one.customer_id].append(place)
        held = self.tools.book.read([*by_customer])
        made: dict[str, dict[int, Answer]] = {}
        intents = []
        for customer, places in by_customer.items():
            memory = held[customer].memory
            made[customer] = {}
            for place in places:
                memory, body = self._answer(left[place], verdicts[place], facts[customer], memory)
                made[customer][place] = Answer(keys[place], body)
            bodies = {answer.key: answer.body for answer in made[customer].values()}
            is_known = facts[customer] is not None
            intents.append(Intent(customer, held[customer], memory, bodies, is_known))
        for customer, new in self.tools.book.intend(intents).items():
            if new is not None:
                self._done |= made[customer]
                self.tools.metrics.requests("answered", len(made[customer]))

    def _answer(
        self, asked: ScoreAsked, verdict: Verdict, facts: Facts | None, memory: Memory
    ) -> tuple[Memory, bytes]:
        """The memory after the answer, and the answer."""
        ahead = self._ahead(asked)
        at = self.now if ahead is None else datetime.fromtimestamp(ahead, UTC)
        if facts is not None and asked.utc_offset_minutes is not None:
            facts = replace(facts, utc_offset_minutes=float(asked.utc_offset_minutes))
        decision = self.tools.decide(asked.customer_id, verdict, facts, sends=memory.sends, at=at)
        seq = memory.next_seq(self.now)
        message = messages.routed(
            *(RESULTS, asked.target, asked.customer_id, verdict, decision),
            seq=seq,
            now=self.now,
            valid=self.tools.valid,
        )
        body = messages.pack(
            msgspec.structs.replace(
                message,
                request_id=asked.id,
                campaign_id=asked.campaign_id,
                message_id=asked.message_id,
            )
        )
        self.tools.metrics.action(decision.action.kind, decision.action.rule)
        sends = memory.sends
        if decision.action.kind is ActionKind.SEND:
            sends = self._with_send(sends, at)
        return msgspec.structs.replace(memory, seq=seq, sends=sends), body

    def _with_send(self, sends: Sequence[float], at: datetime) -> tuple[float, ...]:
        """The sends with one more, as far back as a cap reaches."""
        longest = max((cap.days for cap in self.tools.settings.caps), default=0)
        start = self.now.timestamp() - longest * _DAY_S
        return tuple(sorted(one for one in (*sends, at.timestamp()) if one > start))


def _customer(asked: ScoreAsked) -> AskedCustomer:
    return AskedCustomer(
        customer_id=asked.customer_id,
        utc_offset_minutes=asked.utc_offset_minutes,
        campaign_id=asked.campaign_id,
        message_id=asked.message_id,
    )
