"""Names of consumers that tell whether their process still runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

import psutil

_TOLERANCE_S: Final = 5.0
"""Processes may disagree about when the machine was started, if its clock was set since."""


def process_name(suffix: str) -> str:
    """A name no other process has: machine, process id, time of its start, and the suffix."""
    process = psutil.Process()
    return f"{_machine()}/{process.pid}/{process.create_time():.0f}/{suffix}"


def is_gone(name: str) -> bool:
    """Whether the process of the name ended for certain; False for other machines and forms.

    >>> is_gone("elsewhere/1/0/online"), is_gone(process_name("online"))
    (False, False)
    """
    machine, *rest = name.rsplit("/", 3)
    if machine != _machine() or len(rest) != 3 or not (rest[0].isdigit() and rest[1].isdigit()):
        return False
    try:
        started = psutil.Process(int(rest[0])).create_time()
    except psutil.NoSuchProcess:
        return True
    return abs(started - int(rest[1])) > _TOLERANCE_S


def _machine() -> str:
    """Host and, as containers may share a host's name, the space its process ids are of."""
    try:
        space = os.readlink(Path("/proc/self/ns/pid"))
    except OSError:
        space = ""
    return f"{socket.gethostname()}{space}"
