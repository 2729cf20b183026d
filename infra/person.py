"""Who runs a command, for what is kept of it."""

from __future__ import annotations

import getpass
import socket


def who_runs_this() -> str:
    """`user@machine`; a container's user may have no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
