"""Who runs a mailbox: by name, by MX family, by what DNS said before; and no waiting in parsing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from feature_repo.deliverability.mailbox_cache import Known, MailboxCache, use_known_mailboxes
from feature_repo.deliverability.mailbox_dns import (
    DnsSilent,
    Lookup,
    NoSuchDomain,
    open_lookup,
    resolve,
)
from feature_repo.deliverability.mailbox_families import (
    family_of_mx,
    family_of_reporter,
    family_of_seed,
)
from feature_repo.deliverability.mailboxes import Mailboxes, ask_mailboxes, read_domains
from feature_repo.deliverability.settings import MailboxSettings
from feature_repo.errors import ConfigError, UnusableInput
from feature_repo.ingest.webhook import mailboxes
from feature_repo.ingest.webhook.mailboxes import family_of_address
from feature_repo.settings import Settings
from tests.unit.feature_repo.deliverability.world import Clock

WORKSPACE = [(1, "aspmx.l.google.com."), (5, "alt1.aspmx.l.google.com.")]


@pytest.mark.parametrize(
    ("hosts", "family"),
    [
        (WORKSPACE, "google"),
        ([(1, "SMTP.Google.com")], "google"),
        ([(0, "shop-example.mail.protection.outlook.com.")], "microsoft"),
        ([(0, "shop-example.o-v1.mx.microsoft.")], "microsoft"),
        ([(1, "mta5.am0.yahoodns.net.")], "yahoo"),
        ([(10, "mx01.mail.icloud.com.")], "apple"),
        ([(10, "mx00.emig.gmx.net.")], "united_internet"),
        ([(10, "mx00.kundenserver.de.")], "ionos"),
        ([(10, "eu-smtp-inbound-1.mimecast.com.")], "mimecast"),
        ([(10, "in1-smtp.messagingengine.com.")], "fastmail"),
        ([(10, "mx.shop.example.")], "other"),
        ([(10, "notgoogle.com.")], "other"),
        ([(10, "google.com.evil.example.")], "other"),
        ([(20, "aspmx.l.google.com."), (10, "mx.protonmail.ch.")], "proton"),  # first choice
        ([(10, "mx.shop.example."), (20, "aspmx.l.google.com.")], "google"),  # own relay first
        ([], "other"),
    ],
)
def test_the_servers_say_who_runs_a_domain(hosts: list[tuple[int, str]], family: str) -> None:
    assert family_of_mx(hosts) == family


@pytest.mark.parametrize(
    ("name", "address", "family"),
    [
        ("Gmail", "", "google"),
        ("Office 365", "seed@shop.example", "microsoft"),
        ("", "seed@gmx.de", "united_internet"),
        ("", "seed@shop.example", "other"),
        ("other", "", "other"),
    ],
)
def test_a_seed_is_of_its_named_provider_else_of_its_address(
    name: str, address: str, family: str
) -> None:
    assert family_of_seed(name, address) == family


@pytest.mark.parametrize(
    ("name", "address", "family"),
    [
        ("google.com", "noreply-dmarc-support@google.com", "google"),
        ("Yahoo", "dmarchelp@yahooinc.com", "yahoo"),
        ("", "feedback@arf.mail.yahoo.com", "yahoo"),
        ("", "staff@hotmail.com", "microsoft"),
        ("WEB.DE", "noreply@web.de", "united_internet"),
        ("usssa.com", "postmaster@usssa.com", "other"),
        ("", "", "other"),
    ],
)
def test_a_reporter_tells_of_its_own_mailboxes(name: str, address: str, family: str) -> None:
    assert family_of_reporter(name, address) == family


class Directory:
    """Answers as told, and remembers what it was asked."""

    def __init__(self, records: dict[str, Sequence[tuple[int, str]] | Exception]) -> None:
        self.records = records
        self.asked: list[str] = []

    def __call__(self, domain: str) -> Sequence[tuple[int, str]]:
        self.asked.append(domain)
        found = self.records.get(domain, NoSuchDomain())
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    mailboxes.learn({})


def ask(
    settings: Settings,
    lookup: Lookup,
    *domains: str,
    clock: Clock | None = None,
    again: bool = False,
) -> list[Mailboxes]:
    when = clock or Clock()
    return ask_mailboxes(
        settings,
        MailboxSettings(),
        domains,
        again=again,
        clock=lambda: when.now,
        progress=lambda step, done, total: None,
        lookup=lookup,
    )


def test_only_what_is_not_known_by_name_is_asked(settings: Settings) -> None:
    directory = Directory({"shop.example": WORKSPACE, "plain.example": ()})
    answers = ask(settings, directory, "gmail.com", "shop.example", "plain.example", "gone.example")

    assert [(one.domain, one.family, one.by) for one in answers] == [
        ("gmail.com", "google", "name"),
        ("shop.example", "google", "dns"),
        ("plain.example", "other", "dns"),
        ("gone.example", None, "dns"),
    ]
    assert sorted(directory.asked) == ["gone.example", "plain.example", "shop.example"]


def test_answers_are_kept_for_their_time(settings: Settings) -> None:
    directory, clock = Directory({"shop.example": WORKSPACE}), Clock()
    ask(settings, directory, "shop.example", "gone.example", clock=clock)
    clock.now += timedelta(hours=23)
    assert [one.by for one in ask(settings, directory, "shop.example", clock=clock)] == ["kept"]

    clock.now += timedelta(hours=2)  # no such domain: asked again after a day
    ask(settings, directory, "shop.example", "gone.example", clock=clock)
    assert directory.asked.count("shop.example") == 1
    assert directory.asked.count("gone.example") == 2

    clock.now += timedelta(days=30)
    ask(settings, directory, "shop.example", clock=clock)
    assert directory.asked.count("shop.example") == 2


def test_a_silent_dns_leaves_what_was_known(settings: Settings) -> None:
    directory, clock = Directory({"shop.example": WORKSPACE}), Clock()
    ask(settings, directory, "shop.example", clock=clock)
    directory.records = {"shop.example": DnsSilent(), "new.example": DnsSilent()}
    clock.now += timedelta(days=60)
    kept, silent = ask(settings, directory, "shop.example", "new.example", clock=clock)

    assert (kept.family, kept.by) == ("google", "kept")
    assert (silent.family, silent.by, silent.is_open) == (None, "silent", True)


def test_a_domain_that_takes_no_mail_has_no_family() -> None:
    (answer,) = resolve(
        ["shop.example"],
        Directory({"shop.example": [(0, ".")]}),
        MailboxSettings(),
        lambda: Clock().now,
    )

    assert answer.known is not None
    assert answer.known.family is None


def test_parsing_takes_what_was_learned_and_never_asks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(settings, Directory({"shop.example": WORKSPACE}), "shop.example")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("DNS was asked"))
    assert family_of_address("jane@shop.example") is None

    assert use_known_mailboxes(settings) == 1
    assert family_of_address("jane@shop.example") == "google"
    assert family_of_address("jane@other.example") is None
    assert family_of_address("jane@hotmail.co.uk") == "microsoft"


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": {"family": "x"}}', "\x00"])
def test_a_damaged_file_counts_as_empty(settings: Settings, content: str) -> None:
    settings.state_path.mkdir(parents=True)
    (settings.state_path / "mailboxes.json").write_text(content)

    assert MailboxCache(settings).read() == {}
    MailboxCache(settings).add({"shop.example": Known(family="google", mx=(), until=1.0)})
    assert list(MailboxCache(settings).read()) == ["shop.example"]


def test_dns_is_not_asked_without_leave() -> None:
    with pytest.raises(ConfigError, match="FORESEND_MAILBOXES_DNS=true"):
        open_lookup(MailboxSettings())


def test_a_server_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="FORESEND_MAILBOXES_NAMESERVERS"):
        open_lookup(MailboxSettings(dns=True, nameservers=("no ip",)))


def test_domains_come_from_words_and_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "domains.txt"
    path.write_text("Shop.Example\n\njane@other.example\n")

    assert read_domains(["shop.example"], path) == ["shop.example", "other.example"]
    with pytest.raises(UnusableInput, match="No domain"):
        read_domains([], None)
    with pytest.raises(UnusableInput, match="cannot be read"):
        read_domains([], tmp_path / "nowhere")
    with pytest.raises(UnusableInput, match="'nowhere' is not a domain"):
        read_domains(["nowhere"], None)


@pytest.fixture
def dns_server() -> Iterator[int]:
    """A DNS server of this machine that knows one domain; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_serve, args=(listening,), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.sendto(b"", listening.getsockname())
        thread.join(timeout=10)


def _serve(listening: socket.socket) -> None:
    while True:
        raw, who = listening.recvfrom(4096)
        if not raw:
            return
        query = dns.message.from_wire(raw)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        name = query.question[0].name.to_text()
        if name == "shop.example.":
            hosts = ("5 alt1.aspmx.l.google.com.", "1 aspmx.l.google.com.")
            reply.answer.append(dns.rrset.from_text(name, 300, "IN", "MX", *hosts))
        elif name == "slow.example.":
            continue
        elif name != "plain.example.":
            reply.set_rcode(dns.rcode.NXDOMAIN)
        listening.sendto(reply.to_wire(), who)


def test_a_real_server_is_understood(dns_server: int) -> None:
    server = f"127.0.0.1:{dns_server}"
    lookup = open_lookup(MailboxSettings(dns=True, nameservers=(server,), timeout_s=0.5))

    assert sorted(lookup("shop.example"))[0] == (1, "aspmx.l.google.com.")
    assert lookup("plain.example") == ()
    with pytest.raises(NoSuchDomain):
        lookup("gone.example")
    with pytest.raises(DnsSilent):
        lookup("slow.example")
