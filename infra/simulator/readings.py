"""What the sender can measure of the placement: seed lists, Postmaster Tools; and the truth."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.simulator.campaigns import Campaign
from infra.simulator.options import DOMAINS, PROVIDERS
from infra.simulator.population import GOOGLE
from infra.simulator.randomness import Purpose, draw
from infra.simulator.world import Day, World

SEEDS: Final = (8, 8, 5, 4, 5)
"""Seed mailboxes at each mailbox provider."""

LEAST_VOLUME: Final = 30
"""Deliveries to Google below which Postmaster Tools shows nothing for a day."""

_HOSTS: Final = ("gmail.com", "outlook.com", "yahoo.com", "icloud.com", "mail.example")

_COUNTED: Final = ("delivered", "deferred", "bounced", "complained")


class Readings:
    """Collects what the days show; `write` makes the files.

    Only days of which something arrived are there, and placement rates are what mail met, so a
    collapse shows in the seed list on its first day.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._days: list[tuple[int, list[Campaign]]] = []
        self._counts: dict[tuple[date, str], dict[str, int]] = {}

    def add(self, day: Day) -> None:
        """Take in a day."""
        self._days.append((day.number, day.calendar))
        for at, domain, kind, count in _counts(day.events):
            before = self._counts.setdefault((at, domain), dict.fromkeys(_COUNTED, 0))
            before[kind] += count

    def write(self, folder: Path) -> None:
        """Write placement.csv (the truth), seed_list.csv and postmaster.json."""
        _write_csv(folder / "placement.csv", _PLACEMENT, self._placement())
        _write_csv(folder / "seed_list.csv", _SEED_LIST, self._seed_list())
        (folder / "postmaster.json").write_text(json.dumps(self._postmaster(), indent=1) + "\n")

    def _placement(self) -> Iterator[tuple[object, ...]]:
        for number, _ in self._days:
            at = (self._world.options.start + timedelta(days=number)).date()
            for d, domain in enumerate(DOMAINS):
                for p, provider in enumerate(PROVIDERS):
                    rate = float(self._world.rates[number, d, p])
                    yield at.isoformat(), domain, provider, round(rate, 6)

    def _seed_list(self) -> Iterator[tuple[object, ...]]:
        for number, calendar in self._days:
            rng = draw(self._world.options.seed, Purpose.READINGS, number)
            for campaign in calendar:
                yield from self._seed_test(campaign, rng)

    def _seed_test(
        self, campaign: Campaign, rng: np.random.Generator
    ) -> Iterator[tuple[object, ...]]:
        start = self._world.options.start + timedelta(days=campaign.day)
        sent = start + timedelta(seconds=round(campaign.hour * 3600))
        domain = DOMAINS[campaign.domain]
        for p, (provider, count) in enumerate(zip(PROVIDERS, SEEDS, strict=True)):
            rate = self._world.rates[campaign.day, campaign.domain, p]
            for seed in range(count):
                where = _seed_placement(float(rate), provider, rng)
                got = sent + timedelta(seconds=int(rng.integers(5, 600)))
                arrived = where not in {"missing", "pending"}
                yield (
                    f"seed-{campaign.id}", _iso(sent), domain, "192.0.2.250", campaign.id,
                    f"seed{seed + 1}@{_HOSTS[p]}", provider, where,
                    *(("pass",) * 3 if arrived else ("",) * 3),
                    _iso(got) if arrived else "",
                )  # fmt: skip

    def _postmaster(self) -> dict[str, Any]:
        """Answers of `domains/*/domainStats:query` by domain, as version 2 gives them.

        The spam rate counts reports over mail in the inbox: when all goes to spam it falls to
        nothing. A day below the least volume is missing.
        """
        stats: dict[str, list[dict[str, Any]]] = {domain: [] for domain in DOMAINS}
        first = self._world.options.start.date()
        for (day, domain), counts in sorted(self._counts.items()):
            delivered, deferred, bounced, complained = (counts[kind] for kind in _COUNTED)
            number = (day - first).days
            if delivered < LEAST_VOLUME or number >= self._world.options.days:
                continue
            rate = float(self._world.rates[number, DOMAINS.index(domain), GOOGLE])
            tried = delivered + bounced
            values = {
                "SPAM_RATE": complained / max(1.0, delivered * rate),
                "AUTH_SUCCESS_RATE": 1.0,
                "TLS_ENCRYPTION_RATE": 1.0,
                # Google turns mail away more often when it also distrusts the domain.
                "DELIVERY_ERROR_RATE": (deferred + bounced) / tried + 0.05 * (1.0 - rate),
            }
            stats[domain].extend(
                {
                    "name": f"domains/{domain}/domainStats/{day.isoformat()}-{metric.lower()}",
                    "metric": metric,
                    "date": {"year": day.year, "month": day.month, "day": day.day},
                    "value": {"doubleValue": round(value, 6)},
                }
                for metric, value in values.items()
            )
        return {f"domains/{domain}": {"domainStats": found} for domain, found in stats.items()}


_PLACEMENT: Final = ("date", "sending_domain", "mailbox_provider", "inbox_rate")
_SEED_LIST: Final = (
    "test_id", "sent_at", "sending_domain", "ip", "campaign_id", "seed_email", "provider",
    "placement", "spf", "dkim", "dmarc", "received_at",
)  # fmt: skip


def _counts(events: pa.Table) -> Iterator[tuple[date, str, str, int]]:
    """Events with Google's mailboxes, by day, sending domain and kind."""
    chosen = events.filter(
        pc.and_(
            pc.equal(events["mailbox_provider"], "google"),
            pc.is_in(events["type"], pa.array(_COUNTED)),
        )
    )
    keyed = pa.table(
        {
            "day": chosen["event_time"].cast(pa.timestamp("us")).cast(pa.date32(), safe=False),
            **{name: chosen[name] for name in ("sending_domain", "type", "event_id")},
        }
    )
    counted = keyed.group_by(["day", "sending_domain", "type"]).aggregate(
        [("event_id", "count_distinct")]
    )
    columns = ("day", "sending_domain", "type", "event_id_count_distinct")
    yield from zip(*(counted[name].to_pylist() for name in columns), strict=True)


def _seed_placement(rate: float, provider: str, rng: np.random.Generator) -> str:
    fate, place, tab = rng.random(3)
    if fate < 0.01:
        return "missing"
    if fate < 0.015:
        return "pending"
    if place >= rate:
        return "spam"
    return "promotions" if provider == "google" and tab < 0.4 else "inbox"


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write_csv(path: Path, names: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
