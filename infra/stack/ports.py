"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"


def free_port(preferred: int, *, taken: frozenset[int] = frozenset()) -> int:
    """`preferred` when nothing listens there, else a port the system says is free.

    The port is not reserved: whoever needs it should bind soon, and be restarted if it was lost.
    """
    for port in (preferred, 0):
        if port in taken:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return free_port(0, taken=taken)


def accepts(host: str, port: int, *, timeout_s: float = 1.0) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False
