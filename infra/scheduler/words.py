"""Whether the words of a job are a command that can be run, asked of the command line itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import typer

from infra.cli import build_app

_UNFIT: Final = ("up", "demo", "serve", "ingest", "worker", "scheduler", "schedule")
"""They do not end by themselves, or start jobs."""

# Typer carries a Click of its own; this is its error for words that do not fit.
_USAGE_ERROR: Final[Any] = typer.BadParameter.__base__


def problem_of(words: Sequence[str]) -> str | None:
    """What is wrong with the words after `foresend`; None when nothing is. Runs nothing."""
    if words[0] in _UNFIT:
        return f"{words[0]} does not end by itself, or starts jobs"
    if "--help" in words:
        return "it only shows help"
    command: Any = typer.main.get_command(build_app())
    try:
        context = command.make_context("foresend", [*words])
        while hasattr(command, "resolve_command"):
            left = [*context._protected_args, *context.args]
            name, command, rest = command.resolve_command(context, left)
            if not rest and hasattr(command, "resolve_command"):
                return f"{name} needs one of {', '.join(sorted(command.commands))}"
            context = command.make_context(name, rest, parent=context)
    except _USAGE_ERROR as exc:
        return str(exc.format_message()).rstrip(".")
    return None
