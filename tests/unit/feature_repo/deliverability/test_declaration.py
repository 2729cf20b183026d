"""The section `deliverability` of foresend.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feature_repo.config import Config
from feature_repo.deliverability.declaration import Declaration, declaration
from feature_repo.errors import ConfigError


def declared(section: Any) -> Declaration:
    return declaration(
        Config(path=Path("own.yaml"), targets={}, sections={"deliverability": section})
    )


def test_without_a_section_all_is_default() -> None:
    found = declaration(Config(path=Path("own.yaml"), targets={}))

    assert found == Declaration()
    assert found.complaints.customer_header == "X-Foresend-Customer"


def test_ips_networks_and_verp_are_read() -> None:
    found = declared(
        {
            "sending_ips": {"192.0.2.10": "News.Example", "198.51.100.0/28": "mail.example"},
            "complaints": {"customer_header": "X-Member", "verp": "b-(?P<customer>[^@]+)@"},
        }
    )

    assert found.sending_ips.domain_of("192.0.2.10") == "news.example"
    assert found.sending_ips.domain_of("198.51.100.15") == "mail.example"
    assert found.complaints.customer_header == "X-Member"
    assert found.complaints.verp is not None


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ([], None),  # written and empty
        ("ips", "deliverability has value 'ips'"),
        ({"sending_ip": {}}, "sending_ip is not a key \\(did you mean 'sending_ips'"),
        ({"sending_ips": ["192.0.2.1"]}, "sending_ips has value"),
        ({"sending_ips": {"192.0.2.300": "a.example"}}, "'192.0.2.300' is no IP"),
        ({"sending_ips": {"192.0.2.1/24": "a.example"}}, "is no IP and no network"),
        ({"sending_ips": {"192.0.2.1": "nowhere"}}, "192.0.2.1 has value 'nowhere'"),
        ({"complaints": {"header": "X"}}, "complaints.header is not a key"),
        ({"complaints": {"customer_header": "X Y"}}, "customer_header has value 'X Y'"),
        ({"complaints": {"verp": "("}}, "no regular expression"),
        ({"complaints": {"verp": "b-(.+)@"}}, "must have a group"),
    ],
)
def test_what_cannot_be_used_is_told_with_file_and_key(section: Any, told: str | None) -> None:
    if told is None:
        assert declared(section) == Declaration()
        return
    with pytest.raises(ConfigError, match=told) as refusal:
        declared(section)
    assert str(refusal.value).startswith("own.yaml: ")
