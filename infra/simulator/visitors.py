"""What machines do with a message: Apple's pre-fetch, proxies at delivery, scanners.

The scanners of six products differ in speed, in what they fetch and in what they call themselves,
as field reports say: some call their name, some look like a browser, some come minutes later.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from feature_repo.event import MICROS, EventType, Machine
from infra.simulator import agents
from infra.simulator.acts import INBOX, MAKER, Acts, acts
from infra.simulator.campaigns import HONEYPOT, MOST_LINKS
from infra.simulator.customers import Customers
from infra.simulator.population import GOOGLE, VENDORS, Ints
from infra.simulator.randomness import Purpose, draw
from infra.simulator.sending import Messages


class Vendor(NamedTuple):
    """How one product scans."""

    #: Seconds from delivery to its visit: at least, and the width of the range.
    after_s: float
    width_s: float
    #: Follows every link, else one.
    all_links: bool
    #: Seconds between two links, at most.
    gap_s: float
    #: Agent: a named one, a script, or one that looks like a browser.
    agent: str
    #: Share of messages it looks at.
    share: float


SCANNERS: Final = (
    Vendor(0.3, 4.0, all_links=True, gap_s=0.2, agent="named", share=0.8),
    Vendor(0.5, 8.0, all_links=True, gap_s=0.4, agent="browser", share=0.9),
    Vendor(5.0, 45.0, all_links=True, gap_s=1.5, agent="browser", share=0.7),
    Vendor(60.0, 540.0, all_links=True, gap_s=0.5, agent="script", share=0.6),
    Vendor(2.0, 50.0, all_links=False, gap_s=0.0, agent="browser", share=0.5),
    Vendor(120.0, 1800.0, all_links=False, gap_s=0.0, agent="browser", share=0.3),
)
assert len(SCANNERS) == VENDORS


def visit(customers: Customers, messages: Messages, day: int) -> list[Acts]:
    """The opens and clicks that machines make of a day's messages."""
    rng = draw(customers.seed, Purpose.VISITORS, day)
    return [
        _apple(customers, messages, rng),
        _proxies(customers, messages, rng),
        *_scanners(customers, messages, rng),
    ]


def _apple(customers: Customers, messages: Messages, rng: np.random.Generator) -> Acts:
    """Pre-fetches of what reached the inbox, when the device gets round to it."""
    fetched = (
        customers.population.apple_mail[messages.customer]
        & (messages.placement == INBOX)
        & (rng.random(len(messages)) < 0.9)
    )
    rows = np.flatnonzero(fetched)
    wait = np.exp(rng.normal(np.log(1200.0), 1.3, len(rows)))
    listed = len(agents.RELAY_LISTED) + len(agents.RELAY_OTHER)
    return acts(
        EventType.OPENED,
        len(rows),
        at=messages.delivered[rows] + (np.minimum(wait, 172_800.0) * MICROS).astype(np.int64),
        agent=agents.APPLE_AT,
        host=rng.integers(0, listed, len(rows)),
        maker=MAKER[Machine.APPLE_MPP],
        **messages.common(rows),
    )


def _proxies(customers: Customers, messages: Messages, rng: np.random.Generator) -> Acts:
    """Gmail's proxy fetching at delivery, which nobody asked for: a filter at work."""
    google = customers.population.provider[messages.customer] == GOOGLE
    rows = np.flatnonzero(
        google
        & customers.population.loads_images[messages.customer]
        & (messages.delivered >= 0)
        & (rng.random(len(messages)) < (0.004 if customers.population.apple_mail.any() else 0.0))
    )
    return acts(
        EventType.OPENED,
        len(rows),
        at=messages.delivered[rows] + (4.0 * rng.random(len(rows)) * MICROS).astype(np.int64),
        agent=agents.GMAIL_AT,
        host=agents.GMAIL_HOST_AT + rng.integers(0, len(agents.GMAIL_HOSTS), len(rows)),
        maker=MAKER[Machine.SCANNER],
        **messages.common(rows),
    )


def _scanners(customers: Customers, messages: Messages, rng: np.random.Generator) -> list[Acts]:
    vendor = customers.population.vendor[messages.customer]
    looks, moment = rng.random(len(messages)), rng.random(len(messages))
    opens, seed = rng.random(len(messages)), rng.integers(0, 2**31, len(messages))
    blocks = []
    for number, kind in enumerate(SCANNERS):
        rows = np.flatnonzero((vendor == number) & (messages.delivered >= 0) & (looks < kind.share))
        if not len(rows):
            continue
        begins = messages.delivered[rows] + (
            (kind.after_s + kind.width_s * moment[rows]) * MICROS
        ).astype(np.int64)
        looked = opens[rows] < 0.6
        blocks.append(_act(EventType.OPENED, messages, rows[looked], begins[looked], number, seed))
        blocks.append(_follow(messages, rows, begins, number, seed, rng))
    return blocks


def _follow(
    messages: Messages,
    rows: Ints,
    begins: Ints,
    number: int,
    seed: Ints,
    rng: np.random.Generator,
) -> Acts:
    """The clicks of a scanner: every link one after the other, hidden ones too, or a single one."""
    kind = SCANNERS[number]
    links = messages.links[rows] if kind.all_links else np.ones(len(rows), dtype=np.int64)
    hidden = kind.all_links & messages.honeypot[rows]
    gaps = rng.random((len(rows), MOST_LINKS + 1)) * kind.gap_s
    after = np.cumsum(gaps, axis=1) + 0.3
    row, link = np.nonzero(np.arange(MOST_LINKS + 1) < (links + hidden)[:, None])
    at = begins[row] + (after[row, link] * MICROS).astype(np.int64)
    shown = np.where(link == links[row], HONEYPOT, link)
    if not kind.all_links:
        shown = seed[rows[row]] % messages.links[rows[row]]
    return _act(EventType.CLICKED, messages, rows[row], at, number, seed, link=shown)


def _act(
    kind: EventType,
    messages: Messages,
    rows: Ints,
    at: Ints,
    number: int,
    seed: Ints,
    link: Ints | int = -1,
) -> Acts:
    """What a scanner did, from one of the eight addresses of its product."""
    names = {"named": agents.NAMED_AT, "script": agents.SCRIPT_AT}
    look = SCANNERS[number].agent
    agent = seed[rows] % agents.N_BROWSERS if look == "browser" else names[look] + seed[rows] % 2
    return acts(
        kind,
        len(rows),
        at=at,
        link=link,
        agent=agent,
        host=agents.SCANNER_HOST_AT + 8 * number + seed[rows] % 8,
        maker=MAKER[Machine.SCANNER],
        **messages.common(rows),
    )
