from __future__ import annotations

import socket

from infra.stack.ports import LOOPBACK, accepts, free_port


def _listening() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((LOOPBACK, 0))
    listener.listen()
    return listener


def test_the_preferred_port_is_used_when_it_is_free() -> None:
    with _listening() as listener:
        port = int(listener.getsockname()[1])

    assert free_port(port) == port


def test_a_port_in_use_is_never_given_out() -> None:
    with _listening() as listener:
        port = int(listener.getsockname()[1])

        assert free_port(port) != port


def test_a_port_promised_to_another_service_is_not_given_out_twice() -> None:
    first = free_port(0)

    assert free_port(first, taken=frozenset({first})) != first


def test_accepts_tells_a_listener_from_a_closed_port() -> None:
    with _listening() as listener:
        port = int(listener.getsockname()[1])
        assert accepts(LOOPBACK, port)

    assert not accepts(LOOPBACK, port)
