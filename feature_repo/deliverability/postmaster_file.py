"""Answers of Postmaster Tools v2 that were kept in a file: by domain, or as they came."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from feature_repo.deliverability.postmaster_metrics import BY_NAME, domain_of_name, readings_of
from feature_repo.deliverability.reading import Taken, Unusable
from feature_repo.errors import UnusableInput


def parse_file(raw: bytes, today: date) -> Taken:
    """The readings of `{"domains/news.example": {"domainStats": [...]}, ...}`, of one answer of
    `domainStats:query`, or of a list of them.

    Raises:
        UnusableInput: it is none of these.
    """
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        message = f"it is not JSON: {exc}"
        raise UnusableInput(message) from exc
    taken = Taken()
    answers = list(_answers(told, None))
    if not answers:
        message = 'it holds no answer with "domainStats" of domainStats:query'
        raise UnusableInput(message)
    for name, stats in answers:
        taken.add(_readings(name, stats, today))
    return taken


def _answers(told: object, name: str | None) -> Iterator[tuple[str | None, list[Any]]]:
    """Name of the domain, where it is told outside, and the stats."""
    if isinstance(told, list):
        for one in told:
            yield from _answers(one, name)
    elif isinstance(told, dict):
        stats = told.get("domainStats")
        if isinstance(stats, list):
            yield name, stats
        for key, inner in told.items():
            if key.startswith("domains/"):
                yield from _answers(inner, key)


def _readings(name: str | None, stats: list[Any], today: date) -> Taken:
    taken = Taken()
    for number, stat in enumerate(stats):
        named = name or (stat.get("name") if isinstance(stat, Mapping) else None)
        try:
            taken.add(readings_of(domain_of_name(named), [stat], BY_NAME, today))
        except Unusable as exc:
            taken.rejects.append(exc.at(f"{name or 'answer'}, domainStats[{number}]"))
    return taken
