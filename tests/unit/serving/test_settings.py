"""Settings that cannot be used are named; addresses that anyone could reach need keys."""

from __future__ import annotations

import socket

import pytest

from feature_repo.errors import ConfigError
from feature_repo.listening import is_loopback, listen
from feature_repo.settings import Settings
from serving.server import serve
from serving.settings import load_serving_settings


def test_a_bad_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESEND_SERVING_REGISTRY_POLL_S", "soon")

    with pytest.raises(ConfigError, match="FORESEND_SERVING_REGISTRY_POLL_S has value 'soon'"):
        load_serving_settings()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "example.org"])
def test_without_keys_only_this_machine_may_ask(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="loopback only"):
        serve(Settings(), host=host, port=0, insecure_local=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_loopback_addresses_are_known(host: str) -> None:
    assert is_loopback(host)


def test_a_taken_port_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Cannot listen on 127.0.0.1:{port}"):
            listen("127.0.0.1", port)
