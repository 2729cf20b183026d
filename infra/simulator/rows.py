"""Numbers to canonical events and their truth: Arrow tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.event import MICROS, EventType
from feature_repo.history.schema import EVENTS
from infra.simulator import acts as a
from infra.simulator import agents
from infra.simulator.arrival import Arrivals
from infra.simulator.campaigns import HONEYPOT, MOST_LINKS, PER_DAY, campaign_id
from infra.simulator.labels import Labels
from infra.simulator.options import DOMAINS, PROVIDERS, Options
from infra.simulator.population import COUNTRIES, TOPICS, Population

TRUTH: Final = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("event_time", EVENTS.field("event_time").type, nullable=False),
        pa.field("message_id", pa.string()),
        pa.field("url", pa.string()),
        pa.field("made_by", pa.string(), nullable=False),
        pa.field("placement", pa.string()),
        pa.field("inbox_probability", pa.float64()),
        pa.field("click_probability", pa.float64()),
        pa.field("interest", pa.float64(), nullable=False),
        pa.field("retracted", pa.bool_(), nullable=False),
    ]
)
"""What is true of each event. `made_by`: none (a person), a kind of machine, or system."""

_KINDS: Final = pa.array([kind.value for kind in a.KINDS])
_UTC: Final = pa.timestamp("us", tz="UTC")


class Renderer:
    """Renders the acts of one programme; strings that repeat are made once."""

    def __init__(self, options: Options, people: Population) -> None:
        self._people = people
        self._prefix = f"{options.prefix}:{options.seed}:"
        self._customers = pa.array([customer_id(options, n) for n in range(people.size)])
        self._agents = pa.array(agents.AGENTS)
        hosts = agents.addresses(people.homes)
        self._hosts = pa.array(hosts)
        self._labels = Labels(list(agents.AGENTS), hosts)
        self._countries = pa.array([code for code, _, _ in COUNTRIES])

    def event_ids(self, day: int, rows: NDArray[np.int64]) -> pa.Array:
        """Ids of acts by day and position in it."""
        return pc.binary_join_element_wise(
            f"{self._prefix}{day:04}:", pc.cast(pa.array(rows), pa.string()), ""
        )

    def events(self, block: a.Acts, arrivals: Arrivals, ids: pa.Array) -> pa.Table:
        """The arrivals as canonical events, labelled by what each event says on its own."""
        rows = arrivals.row
        said = {name: values[rows] for name, values in block.items()}
        who = said["customer"].astype(np.int64)
        kinds = said["kind"]
        machine, source, score = self._labels.of(said)
        micros = said["micros"].astype(np.int64)
        micros = np.where(arrivals.is_wrong, said["wrong_micros"].astype(np.int64), micros)
        is_money = micros >= 0
        campaign = self._campaign(said)
        columns: dict[str, Any] = {
            "event_id": ids,
            "received_time": pa.array(arrivals.received).cast(_UTC),
            "event_time": pa.array(said["at"]).cast(_UTC),
            "customer_id": self._customers.take(pa.array(who)),
            "type": _KINDS.take(pa.array(kinds)),
            "op": pa.array(np.where(arrivals.retracts, "retract", "upsert")),
            "provider": pa.array(np.full(len(rows), "simulator")),
            "campaign_id": campaign,
            "message_id": self._message(said, campaign),
            "sending_domain": _take(DOMAINS, said["campaign"].astype(np.int64) % PER_DAY, campaign),
            "mailbox_provider": _take(PROVIDERS, self._people.provider[who], campaign),
            "country": self._countries.take(pa.array(self._people.country[who])),
            "utc_offset_minutes": pa.array(self._people.utc_offset[who].astype(np.int32)),
            "url": _url(said, campaign),
            "link_id": _link(said),
            "user_agent": _pick(self._agents, said["agent"]),
            "ip": _pick(self._hosts, said["host"]),
            "machine": machine,
            "machine_source": source,
            "machine_score": score,
            **_reasons(said),
            "amount": pa.array(micros / MICROS, mask=~is_money),
            "currency": pa.array(np.where(is_money, "EUR", ""), mask=~is_money),
            "backfilled": pa.array(np.zeros(len(rows), dtype=bool)),
        }
        return _table(columns, len(rows), EVENTS)

    def truth(self, block: a.Acts, retracted: NDArray[np.bool_], ids: pa.Array) -> pa.Table:
        """What is true of each act."""
        campaign = self._campaign(block)
        has_message = block["campaign"].astype(np.int64) >= 0
        columns = {
            "event_id": ids,
            "customer_id": self._customers.take(pa.array(block["customer"])),
            "type": _KINDS.take(pa.array(block["kind"])),
            "event_time": pa.array(block["at"]).cast(_UTC),
            "message_id": self._message(block, campaign),
            "url": _url(block, campaign),
            "made_by": pa.array(a.MAKERS).take(pa.array(block["maker"])),
            "placement": pa.array(a.PLACEMENTS).take(pa.array(block["placement"])),
            "inbox_probability": pa.array(block["inbox_p"], mask=~has_message),
            "click_probability": pa.array(block["click_p"], mask=~has_message),
            "interest": pa.array(block["interest"]),
            "retracted": pa.array(retracted),
        }
        return _table(columns, len(ids), TRUTH)

    def _campaign(self, said: a.Acts) -> pa.Array:
        number = said["campaign"].astype(np.int64)
        known, position = np.unique(
            number * len(TOPICS) + said["topic"].astype(np.int64), return_inverse=True
        )
        ids = [campaign_id(k // len(TOPICS), k % len(TOPICS)) for k in known.tolist()]
        return pa.array(ids, pa.string()).take(pa.array(position, mask=number < 0))

    def _message(self, said: a.Acts, campaign: pa.Array) -> pa.Array:
        number = pc.cast(pa.array(said["customer"]), pa.string())
        return pc.binary_join_element_wise(campaign, number, "-")


def customer_id(options: Options, number: int) -> str:
    """Id of a customer.

    >>> customer_id(Options(), 6)
    'sim-000007'
    """
    return f"{options.prefix}-{number + 1:06}"


def _url(said: a.Acts, campaign: pa.Array) -> pa.Array:
    link = said["link"].astype(np.int64)
    names = pa.array([*map(str, range(MOST_LINKS)), "foresend-honeypot"])
    in_mail = (said["kind"] == a.KIND[EventType.CLICKED]) & (link >= 0)
    page = (said["kind"] == a.KIND[EventType.BROWSED]) & (link >= 0)
    name = names.take(pa.array(np.clip(link, 0, HONEYPOT), mask=~in_mail))
    mailed = pc.binary_join_element_wise("https://shop.example", campaign, name, "/")
    products = pc.binary_join_element_wise(
        "https://shop.example/p", pc.cast(pa.array(link, mask=~page), pa.string()), "/"
    )
    return pc.coalesce(mailed, products)


def _link(said: a.Acts) -> pa.Array:
    link = said["link"].astype(np.int64)
    clicked = (said["kind"] == a.KIND[EventType.CLICKED]) & (link >= 0)
    names = pa.array([*(f"link-{n}" for n in range(MOST_LINKS)), "foresend-honeypot"])
    return names.take(pa.array(np.clip(link, 0, HONEYPOT), mask=~clicked))


def _reasons(said: a.Acts) -> dict[str, pa.Array]:
    names = ("bounce_class", "smtp_code", "reason")
    columns = zip(*a.REASONS, strict=True)
    taken = pa.array(said["reason"])
    return {
        name: pa.array(column, pa.string()).take(taken)
        for name, column in zip(names, columns, strict=True)
    }


def _take(names: Sequence[str], position: NDArray[np.int64], where: pa.Array) -> pa.Array:
    """Names by position, null where `where` is null."""
    missing = ~np.asarray(where.is_valid())
    return pa.array(names).take(pa.array(position, mask=missing))


def _pick(names: pa.Array, position: NDArray[Any]) -> pa.Array:
    """Names by position, null where it is -1."""
    return names.take(pa.array(position, mask=position < 0))


def _table(columns: dict[str, Any], count: int, schema: pa.Schema) -> pa.Table:
    arrays = [
        columns[f.name].cast(f.type) if f.name in columns else pa.nulls(count, f.type)
        for f in schema
    ]
    return pa.table(arrays, schema=schema)
