"""DMARC aggregate reports, on the samples of parsedmarc: hostile ones cost only themselves."""

from __future__ import annotations

import gzip
import os
import socket
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from feature_repo.deliverability.dmarc import LARGEST, DmarcParser
from feature_repo.deliverability.reading import Taken, Why
from feature_repo.errors import NotReady

SAMPLES = Path(__file__).parents[3] / "fixtures" / "dmarc" / "samples"
TODAY = date(2026, 3, 6)

REJECTED = {
    "rfc9990-sample.xml": Why.IMPOSSIBLE_DAY,
    "invalid_utf_8.xml": Why.BAD_DOMAIN,
    "empty.xml": Why.BAD_REPORT,
}


@pytest.fixture(scope="module")
def parser() -> DmarcParser:
    return DmarcParser()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def take(parser: DmarcParser, path: str) -> Taken:
    return parser.take((SAMPLES / path).read_bytes(), "", TODAY)


@pytest.mark.parametrize(
    "path", sorted(p for p in SAMPLES.rglob("*") if p.is_file()), ids=lambda p: str(p.name)[:40]
)
def test_every_sample_gives_readings_or_a_reason(parser: DmarcParser, path: Path) -> None:
    taken = parser.take(path.read_bytes(), "", TODAY)
    reasons = {reject.reason for reject in taken.rejects}

    if path.parent.name in {"failure", "smtp_tls"}:
        assert reasons == {Why.NOT_AGGREGATE}
    elif path.name in REJECTED:
        assert reasons == {REJECTED[path.name]}
    else:
        assert taken.readings
        assert reasons == set()
    assert not [reject for reject in taken.rejects if "@" in reject.detail]


def test_passed_and_all_messages_are_counted(parser: DmarcParser) -> None:
    readings = take(parser, "aggregate/empty_reason.xml").readings

    assert [(one.metric, one.value, one.n) for one in readings] == [
        ("dmarc_pass", 2.0, 2.0),
        ("dmarc_spf_pass", 0.0, 2.0),
        ("dmarc_dkim_pass", 2.0, 2.0),
    ]
    assert {one.sending_domain for one in readings} == {"example.com"}
    assert {one.day for one in readings} == {date(2024, 1, 25)}
    assert {one.part for one in readings} == {"example.org/20240125141224705995"}
    assert {one.mailbox_provider for one in readings} == {"other"}


def test_the_reporter_says_whose_mailboxes_they_are(parser: DmarcParser) -> None:
    outlook = "aggregate/protection.outlook.com!example.com!1711756800!1711843200.xml"
    fastmail = "aggregate/fastmail.com!example.com!1516060800!1516147199!102675056.xml.gz"

    assert {one.mailbox_provider for one in take(parser, outlook).readings} == {"microsoft"}
    assert {one.mailbox_provider for one in take(parser, fastmail).readings} == {"fastmail"}


@pytest.fixture
def new_york() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/New_York"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("new_york")
def test_days_are_of_utc_wherever_the_machine_is(parser: DmarcParser) -> None:
    # 1516060800 is 2018-01-16 00:00 UTC, the evening before in New York.
    taken = take(
        parser, "aggregate/fastmail.com!example.com!1516060800!1516147199!102675056.xml.gz"
    )

    assert {one.day for one in taken.readings} == {date(2018, 1, 16)}


REPORT = """<?xml version="1.0"?><feedback><report_metadata><org_name>isp.example</org_name>
<email>d@isp.example</email><report_id>r1</report_id>
<date_range><begin>1772496000</begin><end>1772582400</end></date_range></report_metadata>
<policy_published><domain>shop.example</domain><p>none</p></policy_published>{records}</feedback>"""
RECORD = """<record><row><source_ip>192.0.2.1</source_ip><count>{count}</count><policy_evaluated>
<disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>
<identifiers><header_from>{domain}</header_from></identifiers><auth_results/></record>"""


def test_a_bad_record_costs_only_itself(parser: DmarcParser) -> None:
    records = "".join(
        RECORD.format(count=count, domain=domain)
        for count, domain in [(5, "shop.example"), (1, "no domain"), (7, "Shop.Example.")]
    )
    taken = parser.take(REPORT.format(records=records).encode(), "r.xml", TODAY)

    assert [(r.where, r.reason) for r in taken.rejects] == [("r.xml, record 2", Why.BAD_DOMAIN)]
    assert [(one.value, one.n) for one in taken.readings] == [
        (12.0, 12.0),
        (0.0, 12.0),
        (12.0, 12.0),
    ]


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY b%d "%s">' % (n, b"&a;" * 50) for n in range(50))
    + b"]><feedback>&b1;</feedback>"
)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00" * 64,
        b"PK\x03\x04 no zip",
        b"\x1f\x8b\x08 no gzip",
        LAUGHS,
        bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600),  # Outlook .msg
        gzip.compress(bytes(110_000_000), 1),  # 110 MB in 500 KB
        b"<feedback/>",
        b"<feedback>" * 5_000,
        REPORT.format(records="").encode()[:-40],
        REPORT.format(records=RECORD.format(count="many", domain="shop.example")).encode(),
        b"From: a@b.example\n\nhello\n",
    ],
    ids=range(12),
)
def test_a_hostile_report_is_a_reject(parser: DmarcParser, raw: bytes) -> None:
    taken = parser.take(raw, "x.xml", TODAY)

    assert taken.readings == []
    assert [reject.reason for reject in taken.rejects] == [Why.BAD_REPORT]


def test_a_report_beyond_every_size_is_not_opened(parser: DmarcParser) -> None:
    taken = parser.take(bytes(LARGEST + 1), "x.xml", TODAY)

    assert [reject.reason for reject in taken.rejects] == [Why.TOO_LARGE]


def test_a_missing_package_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "parsedmarc", None)

    with pytest.raises(NotReady, match=r"pip install 'foresend\[dmarc\]'"):
        DmarcParser()
