"""Runs `foresend` commands as a user would, and reads the JSON line they end with."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from feature_repo.errors import ForesendError


class CommandFailed(ForesendError):
    """A command of the demo did not do its work."""


def foresend(*words: str, ok_codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Run `foresend WORDS --json`; its last line as an object.

    Raises:
        CommandFailed: the exit code is not one of `ok_codes`, with what the command said.
    """
    argv = [sys.executable, "-m", "infra.cli", *words, "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode not in ok_codes or not lines:
        said = done.stderr.strip().splitlines()[-15:]
        message = f"`foresend {' '.join(words)}` ended with code {done.returncode}:\n" + "\n".join(
            said
        )
        raise CommandFailed(message)
    result: dict[str, Any] = json.loads(lines[-1])
    return result
