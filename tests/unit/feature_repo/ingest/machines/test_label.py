"""What a single event says about who opened or clicked."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import ConfigError
from feature_repo.event import Event, EventType, Machine
from feature_repo.ingest.machines.addresses import address_list, read_addresses
from feature_repo.ingest.machines.flags import NO_FLAGS, ProviderFlags
from feature_repo.ingest.machines.judgement import add_evidence, judge
from feature_repo.ingest.machines.label import label
from feature_repo.ingest.machines.rules import SHIPPED, load_rules

AT = datetime(2026, 3, 4, 10, tzinfo=UTC)
BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
RELAY = "172.224.224.9"


def event(**changes: Any) -> Event:
    good: dict[str, Any] = {
        "event_id": "e",
        "type": EventType.OPENED,
        "customer_id": "c",
        "event_time": AT,
        "received_time": AT,
    }
    return Event(**good | changes)


CLICK = {"type": EventType.CLICKED}
LABELS = [
    # a person in a browser, opening and clicking
    ({"user_agent": BROWSER}, Machine.NONE, None, None),
    ({"user_agent": BROWSER, "ip": "198.51.100.7", **CLICK}, Machine.NONE, None, None),
    # nothing known
    ({}, Machine.NONE, None, None),
    # Apple: the bare agent, the address (alone too weak), both
    ({"user_agent": "Mozilla/5.0"}, Machine.APPLE_MPP, "apple_bare_agent", 0.9),
    ({"user_agent": BROWSER, "ip": RELAY}, Machine.NONE, "apple_private_relay", 0.5),
    (
        {"user_agent": "Mozilla/5.0", "ip": RELAY},
        Machine.APPLE_MPP,
        "apple_bare_agent+apple_private_relay",
        0.95,
    ),
    # exactly "Mozilla/5.0", and no more
    ({"user_agent": "Mozilla/5.0 "}, Machine.NONE, None, None),
    # a click is not a pre-fetch
    ({"user_agent": "Mozilla/5.0", "ip": RELAY, **CLICK}, Machine.NONE, None, None),
    # before Mail Privacy Protection there was none
    (
        {"user_agent": "Mozilla/5.0", "event_time": datetime(2021, 9, 19, tzinfo=UTC)},
        Machine.NONE,
        None,
        None,
    ),
    # proxies of people
    ({"user_agent": GMAIL}, Machine.GMAIL_PROXY, "google_image_proxy", 0.05),
    (
        {"user_agent": "YahooMailProxy; https://help.yahoo.com/kb/SLN28749.html"},
        Machine.YAHOO_PROXY,
        "yahoo_mail_proxy",
        0.05,
    ),
    # scanners by name, in any case
    (
        {"user_agent": "Mozilla/5.0 BARRACUDASentinel/1.0", **CLICK},
        Machine.SCANNER,
        "scanner_agent",
        0.95,
    ),
    ({"user_agent": "python-requests/2.31", **CLICK}, Machine.SCANNER, "scripted_agent", 0.9),
    ({"user_agent": "Slackbot-LinkExpanding 1.0", **CLICK}, Machine.GENERIC, "crawler_agent", 0.9),
    # a rewritten link alone is weak
    (
        {"user_agent": BROWSER, "url": "https://urldefense.com/v3/__https:/a.example", **CLICK},
        Machine.NONE,
        "rewritten_link",
        0.3,
    ),
    (
        {"url": "https://eur01.safelinks.protection.outlook.com/?url=x", **CLICK},
        Machine.NONE,
        "rewritten_link",
        0.3,
    ),
    # the host, not the text
    ({"url": "https://shop.example/?from=urldefense.com", **CLICK}, Machine.NONE, None, None),
    ({"url": "https://noturldefense.com/", **CLICK}, Machine.NONE, None, None),
    # kinds that no machine does in a person's place
    ({"type": EventType.PURCHASED, "user_agent": "curl/8"}, Machine.NONE, None, None),
]


@pytest.mark.parametrize(("changes", "machine", "source", "score"), LABELS)
def test_an_event_is_labelled_by_what_it_says(
    changes: dict[str, Any], machine: Machine, source: str | None, score: float | None
) -> None:
    labelled = label(event(**changes), NO_FLAGS)

    got = (labelled.machine, labelled.machine_source, labelled.machine_score)
    assert got == (machine, source, score)


VERDICTS = [
    # a machine by the provider's word is one, with its confidence
    (BROWSER, Machine.APPLE_MPP, None, Machine.APPLE_MPP, "provider", 1.0),
    (BROWSER, Machine.GENERIC, 0.7, Machine.GENERIC, "provider", 0.7),
    (GMAIL, Machine.SCANNER, None, Machine.SCANNER, "provider", 1.0),
    # "a person" halves the evidence for a pre-fetch, and not that for a scanner
    ("curl/8.1", Machine.NONE, None, Machine.SCANNER, "scripted_agent+provider", 0.9),
    ("Mozilla/5.0", Machine.NONE, None, Machine.NONE, "apple_bare_agent+provider", 0.45),
    (BROWSER, Machine.NONE, None, Machine.NONE, "provider", 0.0),
    (GMAIL, Machine.NONE, None, Machine.GMAIL_PROXY, "google_image_proxy+provider", 0.05),
    # a proxy by the provider's word
    (BROWSER, Machine.GMAIL_PROXY, None, Machine.GMAIL_PROXY, "provider", 0.0),
    # no word is not the word "a person"
    ("Mozilla/5.0", None, None, Machine.APPLE_MPP, "apple_bare_agent", 0.9),
]


@pytest.mark.parametrize(("agent", "verdict", "confidence", "machine", "source", "score"), VERDICTS)
def test_the_provider_speaks_first_and_silence_says_nothing(
    agent: str,
    verdict: Machine | None,
    confidence: float | None,
    machine: Machine,
    source: str,
    score: float,
) -> None:
    flags = ProviderFlags(machine=verdict, confidence=confidence)

    labelled = label(event(user_agent=agent), flags)

    assert (labelled.machine, labelled.machine_source) == (machine, source)
    assert labelled.machine_score == pytest.approx(score)


def test_two_strong_pieces_of_evidence_overrule_a_provider_that_says_person() -> None:
    labelled = label(event(user_agent="Mozilla/5.0", ip=RELAY), ProviderFlags(machine=Machine.NONE))

    assert labelled.machine is Machine.NONE  # 1 - 0.55 * 0.75 = 0.5875, just not
    honey = add_evidence(load_rules(), labelled.machine, labelled.machine_source, ["honeypot"])
    assert honey is not None
    assert honey[0] is Machine.SCANNER


def test_a_scanner_sends_head_and_a_person_does_not() -> None:
    click = event(user_agent=BROWSER, type=EventType.CLICKED)

    assert label(click, ProviderFlags(method="head")).machine is Machine.SCANNER
    assert label(click, ProviderFlags(method="GET")) is click


@given(
    agent=st.sampled_from([None, BROWSER, GMAIL, "Mozilla/5.0", "curl/8", "x"]),
    ip=st.sampled_from([None, RELAY, "::1", "not an address", "1.2.3.4:80", "\x00"]),
    verdict=st.sampled_from([None, *Machine]),
    held=st.sampled_from([Machine.NONE, Machine.SCANNER]),
)
def test_labelling_twice_is_labelling_once(
    agent: str | None, ip: str | None, verdict: Machine | None, held: Machine
) -> None:
    flags = ProviderFlags(machine=verdict)
    fresh = event(user_agent=agent, ip=ip)
    marked = event(user_agent=agent, ip=ip, machine=held, machine_source="x", machine_score=0.5)

    once = label(fresh, flags)

    assert label(once, flags) == once == label(marked, flags)


def test_an_event_that_matches_nothing_is_handed_back_as_it_is() -> None:
    plain = event(user_agent=BROWSER, ip="198.51.100.7")

    assert label(plain, NO_FLAGS) is plain


def test_the_label_in_the_end_does_not_depend_on_the_order_of_evidence() -> None:
    rules = load_rules()
    names = ["clicked_soon", "link_burst", "many_links"]

    whole = judge(rules, names, None)
    for order in permutations(names):
        held: tuple[Machine, str | None, float | None] = (Machine.NONE, None, None)
        for number in range(1, len(order) + 1):
            # What was found before is found again with what is new.
            held = add_evidence(rules, held[0], held[1], order[:number]) or held
        assert held == whole

    assert add_evidence(rules, whole[0], whole[1], names) is None


def test_weak_evidence_does_not_touch_a_person() -> None:
    rules = load_rules()

    assert add_evidence(rules, Machine.NONE, None, ["clicked_soon"]) is None
    proxied = add_evidence(rules, Machine.GMAIL_PROXY, "google_image_proxy", ["beside_burst"])
    assert proxied is not None
    assert proxied[0] is Machine.SCANNER


def test_an_installation_may_have_its_own_rules_and_lists(tmp_path: Path) -> None:
    (tmp_path / "scanner_addresses.csv").write_text("# dated: 2026-01-02\n198.51.100.0/24,ours\n")

    rules = load_rules(tmp_path)
    labelled = label(event(user_agent=BROWSER, ip="198.51.100.7"), NO_FLAGS, rules)

    assert rules.addresses("scanner_addresses").dated is not None
    assert (labelled.machine, labelled.machine_source) == (Machine.SCANNER, "scanner_address")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("weight: 0.9", "weight: 1.9", "weight"),
        ("machine: apple_mpp", "machine: robot", "machine"),
        ("agent_equals:", "agent_is:", "agent_is"),
        ("name: google_image_proxy", "name: apple_bare_agent", "used twice"),
        ("address_in: apple_private_relay", "address_in: nowhere", "nowhere"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (SHIPPED / "rules.yaml").read_text()
    assert old in text
    (tmp_path / "rules.yaml").write_text(text.replace(old, new, 1))

    with pytest.raises(ConfigError, match=said):
        load_rules(tmp_path)


def test_a_list_is_searched_by_ranges_of_both_families() -> None:
    ranges = address_list(["192.0.2.0/30", "192.0.2.4/30", "2001:db8::/48", "198.51.100.9"])

    inside = ["192.0.2.0", "192.0.2.7", "2001:db8:0:ffff::1", "198.51.100.9"]
    outside = ["192.0.2.8", "191.255.255.255", "2001:db8:1::", "::", "0.0.0.0", "x", ""]
    assert all(address in ranges for address in inside)
    assert not any(address in ranges for address in outside)


def test_a_line_that_is_no_range_is_named(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("192.0.2.0/24\nhere be dragons\n")

    with pytest.raises(ConfigError, match="here be dragons"):
        read_addresses(path)
