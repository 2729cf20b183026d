"""Labels an event as it arrives with who opened or clicked it: person, proxy or machine.

Only what the event itself and its provider say is used here; evidence beside other events is
found by the sweep, which adds it to the same score.
"""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache, partial
from operator import attrgetter
from typing import Final

from feature_repo.event import Event, EventType, Machine
from feature_repo.ingest.machines.flags import ProviderFlags
from feature_repo.ingest.machines.judgement import judge
from feature_repo.ingest.machines.matcher import Matcher
from feature_repo.ingest.machines.rules import Rules, load_rules

JUDGED: Final = (EventType.OPENED, EventType.CLICKED)
"""Kinds that a machine can do in a person's place."""


def label(event: Event, flags: ProviderFlags, rules: Rules | None = None) -> Event:
    """The event with machine, machine_source and machine_score; itself when nothing applies.

    What the event held in these fields before does not matter, so labelling twice is labelling
    once. `rules`: those of the installation (`load_rules`); the shipped ones when None.
    """
    if event.type is not EventType.OPENED and event.type is not EventType.CLICKED:
        return event
    compiled = _compile(load_rules() if rules is None else rules)
    found = compiled.matcher.match(event, flags)
    if not found and flags.machine is None:
        return event if event.machine_source is None else relabel(event, Machine.NONE, None, None)
    return relabel(event, *compiled.judge(found, flags.machine, flags.confidence))


def relabel(event: Event, machine: Machine, source: str | None, score: float | None) -> Event:
    """The event with another label; the same object when it is the same."""
    if (event.machine, event.machine_source, event.machine_score) == (machine, source, score):
        return event
    # Half the time of dataclasses.replace: a frozen class sets each field the slow way.
    changed: Event = object.__new__(Event)
    for set_field, value in zip(_SETTERS, _VALUES(event), strict=True):
        set_field(changed, value)
    for set_field, value in zip(_LABEL_SETTERS, (machine, source, score), strict=True):
        set_field(changed, value)
    return changed


_NAMES: Final = tuple(f.name for f in fields(Event))
_VALUES: Final = attrgetter(*_NAMES)
_SETTERS: Final = tuple(vars(Event)[name].__set__ for name in _NAMES)
_LABEL_SETTERS: Final = tuple(
    vars(Event)[name].__set__ for name in ("machine", "machine_source", "machine_score")
)


class _Compiled:
    """Rules ready for use; the same few pieces of evidence come together again and again."""

    def __init__(self, rules: Rules) -> None:
        self.matcher = Matcher(rules)
        self.judge = lru_cache(maxsize=4096)(partial(judge, rules))


def _compile(rules: Rules) -> _Compiled:
    # By identity: comparing all the rules at every event would cost more than using them. The
    # matcher holds its rules, so their id is not given to others.
    compiled = _held.get(id(rules))
    if compiled is None:
        compiled = _held[id(rules)] = _Compiled(rules)
    return compiled


_held: Final[dict[int, _Compiled]] = {}
