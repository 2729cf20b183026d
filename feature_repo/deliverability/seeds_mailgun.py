"""Seed tests as Mailgun's Inbox Placement v4 answers them, JSON with counts per provider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

from feature_repo.deliverability.mailbox_families import family_of_seed
from feature_repo.deliverability.reading import Taken, Unusable, Why, count, domain, plausible_day
from feature_repo.deliverability.seed_mapping import PLACEMENTS, SentAt
from feature_repo.deliverability.seed_tally import (
    LONGEST_ID,
    Cell,
    Tally,
    domain_of_address,
    whole,
)

_OVERALL: Final = frozenset(("all", "total", "overall"))


def parse_mailgun(told: object, today: date, *, sending_domain: str | None = None) -> Taken:
    """The readings of answers of Mailgun's Inbox Placement v4, one or a list.

    Of an answer, `delivery_stats` says the counts per provider; the day, the domain and the test
    are taken from the fields beside it, under the names that are known.
    """
    tally, rejects = Tally(), []
    for number, result in enumerate(_results(told), start=1):
        try:
            for cell, placement, many in _mailgun_counts(result, today, sending_domain):
                tally.add(cell, placement, many)
        except Unusable as exc:
            rejects.append(exc.at(f"result {number}"))
    taken = tally.taken()
    taken.rejects = rejects
    return taken


def _results(told: object) -> Iterator[Mapping[str, Any]]:
    """Objects with `delivery_stats`, at the top or under the names of lists and envelopes."""
    if isinstance(told, list):
        for one in told:
            yield from _results(one)
    elif isinstance(told, dict):
        inner = [told[name] for name in ("items", "results", "result") if name in told]
        if "delivery_stats" in told or not inner:
            yield told
        else:
            yield from _results(inner)
    else:
        yield {}


def _mailgun_counts(
    result: Mapping[str, Any], today: date, default: str | None
) -> list[tuple[Cell, str, float]]:
    stats = result.get("delivery_stats")
    if not isinstance(stats, dict):
        raise Unusable(Why.NO_COUNTS, "it has no delivery_stats")
    sender = _first(result, "sending_domain", "domain") or domain_of_address(
        _first(result, "sender", "from", "from_address")
    )
    if not sender and not default:
        raise Unusable(Why.BAD_DOMAIN, "it names no sender; give --sending-domain")
    written = _first(result, "created_at", "sent_at", "date", "timestamp")
    form = "epoch_s" if written.replace(".", "", 1).isdigit() else "iso"
    day = plausible_day(SentAt(form=form).day(written), today)
    test = _first(result, "tid", "test_id", "id", "result_id")[:LONGEST_ID] or None
    found = []
    for key, counts in stats.items():
        if not isinstance(counts, dict):
            raise Unusable(Why.NO_COUNTS, f"the counts of {str(key)[:40]!r} are no object")
        name = str(counts.get("provider") or key)
        if name.lower() in _OVERALL:
            continue
        cell = (domain(sender or default or ""), family_of_seed(name, ""), day, test)
        found += [
            (cell, placement, whole(count(counts.get(placement, 0)))) for placement in PLACEMENTS
        ]
    return found


def _first(told: Mapping[str, Any], *names: str) -> str:
    return next((str(told[name]).strip() for name in names if told.get(name)), "")
