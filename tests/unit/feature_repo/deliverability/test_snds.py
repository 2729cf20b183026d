"""Microsoft SNDS: CSV without a header, US dates, bands, colours; and a key that stays secret."""

from __future__ import annotations

from collections import Counter
from datetime import date
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from feature_repo.deliverability.declaration import SendingIps
from feature_repo.deliverability.errors import SourceRefused, SourceUnavailable
from feature_repo.deliverability.reading import Reading, Unusable, Why
from feature_repo.deliverability.snds import (
    Snds,
    last_days,
    middle_of_band,
    parse_blocks,
    parse_data,
    us_day,
)
from tests.unit.feature_repo.deliverability.world import Clock, Web

FOLDER = Path(__file__).parents[3] / "fixtures" / "snds"
DATA = (FOLDER / "data.csv").read_text("utf-8")
BLOCKS = (FOLDER / "ip_status.csv").read_text("utf-8")
TODAY = date(2026, 3, 6)
IPS = SendingIps(
    (
        (ip_network("192.0.2.0/24"), "news.example"),
        (ip_network("198.51.100.7/32"), "mail.example"),
        (ip_network("2001:db8::/32"), "six.example"),
    )
)


def values(readings: list[Reading]) -> dict[tuple[str, str | None], float | None]:
    return {(one.metric, one.part): one.value for one in readings}


def test_rows_become_readings_of_the_domain_that_sends_from_the_ip() -> None:
    found = parse_data(DATA, IPS, TODAY)

    assert {one.day for one in found.readings} == {date(2026, 3, 3)}
    assert {one.mailbox_provider for one in found.readings} == {"microsoft"}
    assert {(one.sending_domain, one.part) for one in found.readings} == {
        ("news.example", "192.0.2.10"),
        ("news.example", "192.0.2.11"),
        ("mail.example", "198.51.100.7"),
    }
    told = values(found.readings)
    assert told["snds_filter_result", "192.0.2.10"] == 0.0
    assert told["snds_filter_result", "192.0.2.11"] == 1.0
    assert told["snds_filter_result", "198.51.100.7"] == 2.0
    assert told["snds_complaint_rate", "192.0.2.10"] == 0.0005
    assert told["snds_complaint_rate", "192.0.2.11"] == 0.004
    assert told["snds_traphits", "198.51.100.7"] == 11.0
    assert told["snds_message_recipients", "192.0.2.10"] == 11998.0


def test_a_rate_has_its_recipients_as_trials() -> None:
    rates = [one for one in parse_data(DATA, IPS, TODAY).readings if "rate" in one.metric]

    assert [one.n for one in rates] == [11998.0, 790.0, 500.0]


def test_bad_rows_are_rejected_with_their_reason_and_row() -> None:
    rejects = parse_data(DATA, IPS, TODAY).rejects

    assert [(one.where, one.reason) for one in rejects] == [
        ("row 4", Why.UNMAPPED_IP),
        ("row 5", Why.BAD_DAY),
        ("row 6", Why.BAD_COLOUR),
        ("row 7", Why.BAD_ROW),
    ]
    assert "sending_ips" in rejects[0].detail


@pytest.mark.parametrize(
    ("written", "share"),
    [
        ("< 0.1%", 0.0005),
        ("0.1%", 0.001),
        ("0.3 %", 0.003),
        ("0.2% - 0.4%", 0.003),
        ("0.5 to 1%", 0.0075),
        ("> 2.1%", 0.021),
        (">=10%", 0.1),
        ("", None),
        ("  ", None),
    ],
)
def test_a_band_is_its_middle(written: str, share: float | None) -> None:
    assert middle_of_band(written) == share


@pytest.mark.parametrize("written", ["low", "-1%", "101%", "0.1%%", "< "])
def test_what_is_no_band_is_refused(written: str) -> None:
    with pytest.raises(Unusable):
        middle_of_band(written)


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("3/4/2026 12:00 AM", date(2026, 3, 4)),
        ("12/31/2019 10:00 AM", date(2019, 12, 31)),
        ("1/2/2026 3:04:05 PM", date(2026, 1, 2)),
        ("1/2/2026", date(2026, 1, 2)),
    ],
)
def test_the_month_comes_first(written: str, day: date) -> None:
    assert us_day(written) == day


def test_the_narrowest_network_decides() -> None:
    ips = SendingIps(
        (
            (ip_network("192.0.2.0/24"), "wide.example"),
            (ip_network("192.0.2.8/29"), "narrow.example"),
        )
    )

    assert ips.domain_of("192.0.2.10") == "narrow.example"
    assert ips.domain_of("192.0.2.20") == "wide.example"
    assert ips.domain_of("203.0.113.1") is None
    assert ips.domain_of("no ip") is None


def test_blocked_ranges_are_told_for_what_is_declared() -> None:
    found = parse_blocks(BLOCKS, IPS, TODAY)

    assert values(found.readings) == {
        ("snds_blocked", "192.0.2.0/24"): 0.0,
        ("snds_blocked", "198.51.100.7/32"): 1.0,
        ("snds_blocked", "2001:db8::/32"): 0.0,
    }
    assert [(one.where, one.reason) for one in found.rejects] == [("row 3", Why.BAD_ROW)]


def snds(web: Web) -> Snds:
    return Snds(web.client(Clock()), SecretStr("k3y-s3cret"), IPS)


def test_each_day_is_asked_for_in_microsofts_words() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=BLOCKS if "ipStatus" in request.url.path else DATA)

    web = Web(handler=answer)
    parts = list(snds(web).pull(last_days(TODAY, 2), TODAY))

    assert len(parts) == 3
    assert [(r.url.path, r.url.params.get("date")) for r in web.requests] == [
        ("/snds/data.aspx", "030426"),
        ("/snds/data.aspx", "030526"),
        ("/snds/ipStatus.aspx", None),
    ]


def test_a_day_without_data_gives_nothing() -> None:
    web = Web(handler=lambda request: httpx.Response(204 if "data" in request.url.path else 200))

    *days, blocks = snds(web).pull(last_days(TODAY, 1), TODAY)
    assert [part.readings for part in days] == [[]]
    assert Counter(one.value for one in blocks.readings) == {0.0: 3}


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (httpx.Response(400), SourceRefused),
        (httpx.Response(200, text=" <!DOCTYPE html><html>"), SourceUnavailable),
        (httpx.Response(302, headers={"location": "https://login.example"}), SourceRefused),
    ],
)
def test_the_key_is_neither_logged_nor_told(
    response: httpx.Response, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    asked = snds(Web(handler=lambda request: response))

    with pytest.raises(error) as failure:
        list(asked.pull(last_days(TODAY, 1), TODAY))
    assert "k3y-s3cret" not in str(failure.value) + repr(failure.value) + caplog.text
    assert "k3y-s3cret" not in repr(asked.__dict__)
