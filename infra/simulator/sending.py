"""A day's messages: who gets one, when it is delivered and where it lands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_repo.event import MICROS, EventType
from infra.simulator.acts import (
    FULL,
    HARD,
    INBOX,
    LATER,
    SPAM,
    SUPPRESSED,
    SYSTEM,
    Acts,
    acts,
)
from infra.simulator.campaigns import Campaign
from infra.simulator.customers import Customers
from infra.simulator.population import MICROSOFT, Flags, Floats, Ints
from infra.simulator.randomness import Purpose, draw

HOUR_US = 3600 * MICROS


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages of one day, column by column."""

    customer: Ints
    campaign: Ints
    domain: Ints
    topic: Ints
    quality: Floats
    links: Ints
    honeypot: Flags
    sent: Ints
    #: When the mailbox took it; -1: never.
    delivered: Ints
    #: INBOX, SPAM, or 0: not delivered.
    placement: Ints
    #: Chance of the inbox before it was decided.
    inbox_p: Floats
    interest: Floats

    def __len__(self) -> int:
        return len(self.customer)

    def common(self, rows: Ints | Flags) -> dict[str, object]:
        """Columns that all acts about these messages share."""
        return {
            "customer": self.customer[rows],
            "campaign": self.campaign[rows],
            "topic": self.topic[rows],
            "placement": self.placement[rows],
            "inbox_p": self.inbox_p[rows],
            "interest": self.interest[rows],
            "honeypot": self.honeypot[rows],
        }


def send(
    customers: Customers, calendar: list[Campaign], day_us: int, rates: Floats
) -> tuple[Messages, list[Acts]]:
    """The day's messages, and what the sending services report of their way.

    `rates`: inbox rate by [domain, provider] on this day. Customers that bounce for good are not
    written to again.
    """
    day = calendar[0].day
    rng = draw(customers.seed, Purpose.SENDING, day)
    chosen = []
    for campaign in calendar:
        wanted = rng.random(customers.population.size) < campaign.share
        jitter = rng.random(customers.population.size)
        rows = np.flatnonzero(wanted & customers.may_be_written_to(day_us))
        sent = day_us + ((campaign.hour + jitter[rows] / 3) * HOUR_US).astype(np.int64)
        chosen.append((campaign, rows, sent))
    messages = _messages(customers, chosen, rates, rng)
    customers.wrote(messages.customer)
    return messages, _reports(customers, messages, rng)


def _messages(
    customers: Customers,
    chosen: list[tuple[Campaign, Ints, Ints]],
    rates: Floats,
    rng: np.random.Generator,
) -> Messages:
    sizes = [len(rows) for _, rows, _ in chosen]
    per = {
        name: np.repeat([getattr(c, name) for c, _, _ in chosen], sizes)
        for name in ("number", "domain", "topic", "quality", "links", "has_honeypot")
    }
    customer = np.concatenate([rows for _, rows, _ in chosen])
    sent = np.concatenate([at for _, _, at in chosen])
    provider = customers.population.provider[customer]
    interest = customers.interest[customer]
    # Mailboxes learn from their owner: who reads finds more in the inbox.
    rate = rates[per["domain"], provider]
    inbox_p = 1 / (1 + np.exp(-(np.log(rate / (1 - rate)) + 0.3 * interest)))
    outcome, delay = rng.random(len(customer)), rng.random(len(customer))
    lost = outcome < np.where(customers.is_gone()[customer], 0.02, 0.002)
    slow = ~lost & (outcome > np.where(provider == MICROSOFT, 0.95, 0.98))
    quick = 1.0 + 18.0 * delay**2
    wait = np.where(slow, 300.0 + 3300.0 * delay, quick)
    lost |= slow & (rng.random(len(customer)) < 0.1)
    delivered = np.where(lost, -1, sent + (wait * MICROS).astype(np.int64))
    lands = np.where(rng.random(len(customer)) < inbox_p, INBOX, SPAM)
    return Messages(
        customer=customer,
        campaign=per["number"],
        domain=per["domain"],
        topic=per["topic"],
        quality=per["quality"],
        links=per["links"],
        honeypot=per["has_honeypot"],
        sent=sent,
        delivered=delivered,
        placement=np.where(delivered < 0, 0, lands),
        inbox_p=inbox_p,
        interest=interest,
    )


def _reports(customers: Customers, messages: Messages, rng: np.random.Generator) -> list[Acts]:
    """Sent, delivered, deferred, bounced and rejected."""
    everything = np.arange(len(messages))
    refused = rng.random(len(messages)) < 0.0005
    arrived = messages.delivered >= 0
    wait = np.where(arrived, messages.delivered - messages.sent, 0)
    deferred = everything[wait > 120 * MICROS]
    lost = everything[~arrived & ~refused]
    hard = rng.random(len(lost)) < 0.7
    customers.stop_writing(messages.customer[lost[hard]], messages.sent[lost[hard]])
    made = [(EventType.SENT, everything[~refused], messages.sent, 0)]
    made.append((EventType.DELIVERED, everything[arrived & ~refused], messages.delivered, 0))
    made.append((EventType.DEFERRED, deferred, messages.sent + 4 * MICROS, LATER))
    made.append((EventType.BOUNCED, lost[hard], messages.sent + 3 * MICROS, HARD))
    made.append((EventType.BOUNCED, lost[~hard], messages.sent + 7200 * MICROS, FULL))
    made.append((EventType.REJECTED, everything[refused], messages.sent + MICROS, SUPPRESSED))
    return [
        acts(kind, len(rows), at=at[rows], reason=why, maker=SYSTEM, **messages.common(rows))
        for kind, rows, at, why in made
    ]
