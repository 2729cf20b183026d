"""DMARC aggregate reports, read by parsedmarc (an extra) without asking the network.

They say how much mail of a domain was authenticated at a receiver, nothing of where it landed.
"""

from __future__ import annotations

import importlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final
from xml.parsers.expat import ExpatError

from feature_repo.deliverability.mailbox_families import family_of_reporter
from feature_repo.deliverability.reading import (
    Reading,
    Taken,
    Unusable,
    Why,
    count,
    domain,
    plausible_day,
)
from feature_repo.errors import NotReady

SOURCE: Final = "dmarc"
LARGEST: Final = 30_000_000
"""Bytes of a report file; the largest seen in the wild are below 10 MB."""

_OUTLOOK: Final = bytes.fromhex("d0cf11e0a1b11ae1")
_NAMES: Final = {"dmarc": "dmarc_pass", "spf": "dmarc_spf_pass", "dkim": "dmarc_dkim_pass"}
_LONGEST: Final = 120

_Counts = defaultdict[tuple[str, date], Counter[str]]
"""Messages and passed ones, by sending domain and day."""

# What a parser of foreign XML, archives and mails can come to grief with, besides its own errors.
_FAULTS: Final = (
    ArithmeticError, AttributeError, ExpatError, LookupError, OSError, RecursionError, TypeError,
    ValueError,
)  # fmt: skip


class DmarcParser:
    """Reads report files: XML, .gz, .zip, or the mail that carries one."""

    def __init__(self) -> None:
        """Load parsedmarc.

        Raises:
            NotReady: it is not installed.
        """
        try:
            self._parsedmarc: Any = importlib.import_module("parsedmarc")
        except ModuleNotFoundError as exc:
            message = (
                f"DMARC reports need a package that is not installed ({exc.name}). "
                "Run: pip install 'foresend[dmarc]'"
            )
            raise NotReady(message) from exc
        # They write what they cannot read to the log, addresses included.
        for name in ("parsedmarc.log", "mailparser", "mailsuite"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def take(self, raw: bytes, where: str, today: date) -> Taken:
        """The readings of one file, or the reject that says why there are none."""
        if len(raw) > LARGEST:
            reject = Unusable(Why.TOO_LARGE, f"{len(raw):,} bytes; the limit is {LARGEST:,}")
            return Taken(rejects=[reject.at(where)])
        if raw.startswith(_OUTLOOK):
            # Its converter is an external program; foreign bytes are not handed to one.
            reject = Unusable(Why.BAD_REPORT, "it is an Outlook .msg; save the mail as .eml")
            return Taken(rejects=[reject.at(where)])
        try:
            return _taken(self._report(raw), where, today)
        except Unusable as exc:
            return Taken(rejects=[exc.at(where)])
        except _FAULTS as exc:
            return Taken(rejects=[_malformed(exc).at(where)])

    def _report(self, raw: bytes) -> Mapping[str, Any]:
        try:
            parsed = self._parsedmarc.parse_report_file(
                raw, offline=True, always_use_local_files=True, strip_attachment_payloads=True
            )
        except self._parsedmarc.ParserError as exc:
            raise Unusable(Why.BAD_REPORT, _brief(exc)) from None
        if parsed["report_type"] != "aggregate":
            raise Unusable(Why.NOT_AGGREGATE, f"it is a {parsed['report_type']} report")
        report: Mapping[str, Any] = parsed["report"]
        return report


def _taken(report: Mapping[str, Any], where: str, today: date) -> Taken:
    """Passed and all messages per sending domain and day; bad records are rejected one by one.

    The part is reporter and report id: one reporter sends several reports about a day, and what
    they count adds up; a report that comes twice does not.
    """
    told = report["report_metadata"]
    reporter, address = str(told["org_name"] or ""), str(told["org_email"] or "")
    part = f"{reporter}/{told['report_id']}"[:_LONGEST]
    family = family_of_reporter(reporter, address)
    policy = str(report["policy_published"]["domain"] or "")
    counts: _Counts = defaultdict(Counter)
    rejects = []
    for number, record in enumerate(report["records"], start=1):
        try:
            _count(record, policy, today, counts)
        except Unusable as exc:
            rejects.append(exc.at(f"{where}, record {number}".removeprefix(", ")))
        except _FAULTS as exc:
            rejects.append(_malformed(exc).at(f"{where}, record {number}".removeprefix(", ")))
    return Taken(readings=list(_readings(counts, family, part)), rejects=rejects)


def _count(record: Mapping[str, Any], policy: str, today: date, counts: _Counts) -> None:
    name = domain(str(record["identifiers"]["header_from"] or policy))
    day = plausible_day(_middle(record), today)
    messages = int(count(record["count"]))
    passed = {kind: messages * bool(record["alignment"][kind]) for kind in _NAMES}
    counts[name, day].update(messages=messages, **passed)


def _readings(counts: _Counts, family: str, part: str) -> Iterator[Reading]:
    for (name, day), found in sorted(counts.items()):
        for kind, metric in _NAMES.items():
            yield Reading(
                sending_domain=name,
                mailbox_provider=family,
                day=day,
                metric=metric,
                part=part,
                value=float(found[kind]),
                n=float(found["messages"]),
            )


def _middle(record: Mapping[str, Any]) -> date:
    """The UTC day of the middle of a record's interval: some reporters' days begin elsewhere."""
    begin, end = (
        datetime.fromisoformat(record[name]).replace(tzinfo=UTC)
        for name in ("interval_begin", "interval_end")
    )
    return (begin + (end - begin) / 2).date()


def _malformed(exc: BaseException) -> Unusable:
    return Unusable(Why.BAD_REPORT, f"it is not of the form of RFC 9990 ({_brief(exc)})")


def _brief(exc: BaseException) -> str:
    """One line without the content of the report."""
    text = " ".join(str(exc).split())
    return f"{type(exc).__name__}: {text[:80]}" if "@" not in text else type(exc).__name__
