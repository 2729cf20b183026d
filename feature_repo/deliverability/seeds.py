"""Seed lists: where test mailboxes found the mail. CSV by a mapping, and Mailgun's JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Final

from feature_repo.deliverability.mailbox_families import family_of_seed
from feature_repo.deliverability.reading import Taken, Unusable, Why, count, domain, plausible_day
from feature_repo.deliverability.seed_mapping import (
    PLACEMENTS,
    SHIPPED,
    SeedMapping,
    load_seed_mapping,
)
from feature_repo.deliverability.seed_tally import (
    LONGEST_ID,
    Cell,
    Tally,
    domain_of_address,
    whole,
)
from feature_repo.deliverability.seeds_mailgun import parse_mailgun
from feature_repo.errors import UnusableInput

SOURCE: Final = "seed_list"
_DELIMITERS: Final = (",", ";", "\t", "|")


def parse_csv(
    text: str, mapping: SeedMapping | None, today: date, *, sending_domain: str | None = None
) -> Taken:
    """The readings of a table. Without a mapping, the shipped one that its columns fit.

    `sending_domain` is for tables that do not say it. Bad rows are rejected one by one.

    Raises:
        UnusableInput: no mapping fits the columns.
    """
    rows = _rows(text)
    header = next(rows, [])
    used, positions = _fitting(header, mapping, sending_domain)
    tally, rejects = Tally(), []
    seeds: dict[tuple[Cell, str], str] = {}
    for number, row in enumerate(rows, start=1):
        if not any(cell.strip() for cell in row):
            continue
        try:
            if len(row) != len(header):
                raise Unusable(Why.BROKEN_ROW, f"{len(row)} cells; the header has {len(header)}")
            told = {name: row[place].strip() for name, place in positions.items()}
            cell = _cell(told, used, today, sending_domain)
            if used.form == "per_seed":
                # The last row of a mailbox counts: exports repeat them as mail arrives.
                mailbox = told.get("seed_email") or f"row {number}"
                seeds[cell, mailbox] = used.placement(told["placement"])
            else:
                _add_counts(tally, cell, told)
        except Unusable as exc:
            rejects.append(exc.at(f"row {number}"))
    for (cell, _), placement in seeds.items():
        tally.add(cell, placement, 1.0)
    taken = tally.taken()
    taken.rejects = rejects
    return taken


def parse_seeds(
    raw: bytes, mapping: SeedMapping | None, today: date, *, sending_domain: str | None = None
) -> Taken:
    """The readings of a file, CSV or JSON by its first character.

    Raises:
        UnusableInput: it can be read as neither.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        message = f"it is not UTF-8 ({exc}). Export it as UTF-8"
        raise UnusableInput(message) from exc
    if text.lstrip()[:1] not in {"{", "["}:
        return parse_csv(text, mapping, today, sending_domain=sending_domain)
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as exc:
        message = f"it is not JSON: {exc}"
        raise UnusableInput(message) from exc
    return parse_mailgun(told, today, sending_domain=sending_domain)


def _rows(text: str) -> Iterator[list[str]]:
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            # A cell beyond every size; it fits no header and is rejected as such.
            yield ["?"]


def _fitting(
    header: Sequence[str], mapping: SeedMapping | None, sending_domain: str | None
) -> tuple[SeedMapping, dict[str, int]]:
    names = [name.strip().lower() for name in header]
    tried = [mapping] if mapping is not None else [load_seed_mapping(name) for name in SHIPPED]
    problems = []
    for candidate in tried:
        positions = {
            ours: names.index(found)
            for ours, theirs in candidate.columns.items()
            if (found := next((n.lower() for n in theirs if n.lower() in names), None)) is not None
        }
        missing = _missing(candidate, positions, sending_domain)
        if missing is None:
            return candidate, positions
        problems.append(f"{candidate.label} needs {missing}")
    message = (
        f"its columns ({', '.join(header)[:200]}) fit no mapping: {'; '.join(problems)}. "
        "Write a mapping and give it with --mapping (docs/deliverability.md)"
    )
    raise UnusableInput(message)


def _missing(
    mapping: SeedMapping, positions: Mapping[str, int], sending_domain: str | None
) -> str | None:
    if mapping.form == "per_seed":
        needed: tuple[tuple[str, ...], ...] = (
            ("sent_at",), ("placement",), ("provider", "seed_email"),
        )  # fmt: skip
    else:
        needed = (("sent_at",), ("provider",), ("inbox",), ("spam",), ("missing",))
    if sending_domain is None:
        needed = (*needed, ("sending_domain", "from_address"))
    for names in needed:
        if not any(name in positions for name in names):
            theirs = (word for name in names for word in mapping.columns.get(name, (name,)))
            return f"a column {' or '.join(theirs)}"
    return None


def _cell(told: Mapping[str, str], mapping: SeedMapping, today: date, default: str | None) -> Cell:
    named = told.get("sending_domain") or domain_of_address(told.get("from_address", "")) or default
    if not named:
        raise Unusable(Why.BAD_DOMAIN, "the row names no sending domain; give --sending-domain")
    provider, address = told.get("provider", ""), told.get("seed_email", "")
    if not provider and not address:
        raise Unusable(Why.NO_PROVIDER, "the row names no mailbox provider")
    day = plausible_day(mapping.sent_at.day(told["sent_at"]), today)
    test = told.get("test_id", "")[:LONGEST_ID] or None
    return domain(named), family_of_seed(provider, address), day, test


def _add_counts(tally: Tally, cell: Cell, told: Mapping[str, str]) -> None:
    counts = {name: count(told.get(name) or "0") for name in PLACEMENTS}
    for name, many in counts.items():
        tally.add(cell, name, whole(many))
