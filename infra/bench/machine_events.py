"""Recognising machine events: our rules against the three votes of Mautic, on simulated truth.

Both are given the same user agents and the same address lists: the shipped one, and the addresses
of half of the simulated scanners. The seeds were not looked at while rules were written. The
simulated machines follow public field reports, as the rules do, so this measures how well the
rules cope with such a world, and not how well any world is like it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from feature_repo.event import HUMAN_MACHINES, Event, EventType, Machine
from feature_repo.ingest.machines.evidence import ACTS, EVIDENCE, find_evidence
from feature_repo.ingest.machines.flags import NO_FLAGS
from feature_repo.ingest.machines.judgement import add_evidence
from feature_repo.ingest.machines.label import JUDGED, label, relabel
from feature_repo.ingest.machines.rules import Rules, load_rules
from infra.simulator.agents import SCANNER_HOSTS
from infra.simulator.deliveries import as_events
from infra.simulator.options import Options
from infra.simulator.world import World

SEEDS: Final = (101, 102, 103)
CUSTOMERS: Final = 3000
DAYS: Final = 60

_VOTES_NEEDED: Final = 0.6
_AT_ONCE: Final = timedelta(seconds=2)
_HUMAN: Final = frozenset(machine.value for machine in HUMAN_MACHINES)
_AGENT_RULES: Final = frozenset(("scanner_agent", "scripted_agent", "crawler_agent",
                                 "apple_bare_agent"))  # fmt: skip
_ADDRESS_RULES: Final = frozenset(("apple_private_relay", "scanner_address"))


def run(workdir: Path) -> dict[str, Any]:
    """F1 of telling machines from people, over all opens and clicks of all seeds."""
    listed = SCANNER_HOSTS[: len(SCANNER_HOSTS) // 2]
    (workdir / "scanner_addresses.csv").write_text("\n".join(listed) + "\n")
    rules = load_rules(workdir)
    ours: Counter[tuple[str, str, str]] = Counter()
    votes: Counter[tuple[str, str, str]] = Counter()
    by_seed = []
    for seed in SEEDS:
        said, voted = _confusions(seed, rules)
        ours += said
        votes += voted
        by_seed.append((round(_f1(said), 4), round(_f1(voted), 4)))
    return {
        "ours": _f1(ours),
        "baseline": _f1(votes),
        "unit": "F1 of machine events",
        "ratio": _f1(ours) / _f1(votes),
        **_figures("ours", ours),
        **_figures("votes", votes),
        "by_seed": by_seed,
        "confusion": {" ".join(key): count for key, count in sorted(ours.items())},
        "confusion_votes": {" ".join(key): count for key, count in sorted(votes.items())},
    }


def _confusions(
    seed: int, rules: Rules
) -> tuple[Counter[tuple[str, str, str]], Counter[tuple[str, str, str]]]:
    """Counts by (kind of event, who made it, who we say made it), ours and by votes."""
    options = Options(customers=CUSTOMERS, days=DAYS, seed=seed, swept=False, duplicates=0.0)
    ours: Counter[tuple[str, str, str]] = Counter()
    votes: Counter[tuple[str, str, str]] = Counter()
    with duckdb.connect(":memory:") as con:
        con.execute("SET TimeZone = 'UTC'")
        for day in World(options).days():
            assert day is not None
            events = [event for event, _ in as_events(day.events, day.repairs)]
            truth = dict(zip(*(day.truth[n].to_pylist() for n in ("event_id", "made_by")),
                             strict=True))  # fmt: skip
            for event in _ours(con, events, rules):
                ours[event.type.value, truth[event.event_id], event.machine.value] += 1
            for event in _by_votes(events, rules):
                votes[event.type.value, truth[event.event_id], event.machine.value] += 1
    return ours, votes


def _ours(con: duckdb.DuckDBPyConnection, events: list[Event], rules: Rules) -> Iterator[Event]:
    """Opens and clicks labelled by themselves and then by what surrounds them."""
    con.register("acts", _acts_table(events))
    con.execute(f"CREATE OR REPLACE TEMP TABLE {ACTS} AS SELECT * FROM acts")
    con.unregister("acts")
    find_evidence(con, rules)
    rows = con.execute(f"SELECT event_id, list(rule) FROM {EVIDENCE} GROUP BY 1").fetchall()
    found: Mapping[str, list[str]] = dict(rows)
    for event in events:
        if event.type in JUDGED:
            plain = label(event, NO_FLAGS, rules)
            added = add_evidence(
                rules, plain.machine, plain.machine_source, found.get(event.event_id, [])
            )
            yield plain if added is None else relabel(plain, *added)


def _by_votes(events: list[Event], rules: Rules) -> Iterator[Event]:
    """Opens and clicks by three votes: soon after sending, address listed, agent listed."""
    sent = {e.message_id: e.event_time for e in events if e.type is EventType.SENT}
    for event in events:
        if event.type not in JUDGED:
            continue
        # As if of both kinds: the lists do not depend on what was done.
        hit = label(replace(event, type=EventType.OPENED), NO_FLAGS, rules)
        names = set((hit.machine_source or "").split("+"))
        sent_at = sent.get(event.message_id)
        soon = sent_at is not None and event.event_time - sent_at < _AT_ONCE
        ballot = [soon, bool(names & _ADDRESS_RULES), bool(names & _AGENT_RULES)]
        is_bot = sum(ballot) / len(ballot) >= _VOTES_NEEDED
        yield relabel(event, Machine.GENERIC if is_bot else Machine.NONE, None, None)


def _acts_table(events: list[Event]) -> pa.Table:
    names = ("event_id", "type", "customer_id", "message_id", "event_time", "received_time",
             "link_id", "url", "user_agent", "ip")  # fmt: skip
    at = pa.timestamp("us", tz="UTC")
    types = {"event_time": at, "received_time": at}
    wanted = [event for event in events if event.message_id is not None]
    return pa.table(
        {
            name: pa.array([getattr(event, name) for event in wanted], types.get(name, pa.string()))
            for name in names
        }
    )


def _f1(confusion: Counter[tuple[str, str, str]], kind: str | None = None) -> float:
    precision, recall = _precision_recall(confusion, kind)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _precision_recall(
    confusion: Counter[tuple[str, str, str]], kind: str | None = None
) -> tuple[float, float]:
    right = wrong = missed = 0
    for (event, truth, said), count in confusion.items():
        if kind not in {None, event}:
            continue
        is_machine, is_said = truth not in _HUMAN, said not in _HUMAN
        right += count * (is_machine and is_said)
        wrong += count * (not is_machine and is_said)
        missed += count * (is_machine and not is_said)
    return right / max(1, right + wrong), right / max(1, right + missed)


def _figures(name: str, confusion: Counter[tuple[str, str, str]]) -> dict[str, float]:
    figures = {}
    for kind in ("opened", "clicked"):
        precision, recall = _precision_recall(confusion, kind)
        figures[f"{name}_{kind}_precision"] = round(precision, 4)
        figures[f"{name}_{kind}_recall"] = round(recall, 4)
    return figures
