"""Who a customer is in a tool: what is asked, and for how long it is remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from serving.routing.connectors.directory import UNKNOWN_S, AskedDirectory
from serving.routing.connectors.errors import Later
from tests.unit.serving.routing.connectors.world import Time


class Tool:
    """Knows some customers, and remembers what it was asked."""

    def __init__(self, **known: str) -> None:
        self.known = known
        self.asked: list[list[str]] = []

    def __call__(self, customer_ids: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(list(customer_ids))
        return {one: self.known[one] for one in customer_ids if one in self.known}


def test_who_is_known_is_asked_for_once() -> None:
    tool = Tool(ann="1", bob="2")
    directory = AskedDirectory(tool, Time().pace.monotonic)

    assert directory.lookup(["ann", "ann"]) == {"ann": "1"}
    assert directory.lookup(["ann", "bob"]) == {"ann": "1", "bob": "2"}
    assert tool.asked == [["ann"], ["bob"]]


def test_who_is_not_known_is_asked_for_again_after_a_while() -> None:
    tool, time = Tool(), Time()
    directory = AskedDirectory(tool, time.pace.monotonic)
    directory.lookup(["ann"])
    tool.known["ann"] = "1"

    assert directory.lookup(["ann"]) == {}
    time.sleep(UNKNOWN_S)
    assert directory.lookup(["ann"]) == {"ann": "1"}


def test_who_was_forgotten_is_asked_for_at_once() -> None:
    tool = Tool(ann="1")
    directory = AskedDirectory(tool, Time().pace.monotonic)
    directory.lookup(["ann"])
    tool.known["ann"] = "9"
    assert directory.forget("ann")
    assert directory.forget("nobody")

    assert directory.lookup(["ann"]) == {"ann": "9"}


def test_only_so_many_are_remembered() -> None:
    tool = Tool(ann="1", bob="2", eve="3")
    directory = AskedDirectory(tool, Time().pace.monotonic, most=2)

    assert directory.lookup(["ann", "bob", "eve"]) == tool.known
    directory.lookup(["ann"])

    assert tool.asked == [["ann", "bob", "eve"], ["ann"]]


def test_a_tool_that_cannot_be_asked_leaves_nothing_behind() -> None:
    calls = []

    def away(customer_ids: Sequence[str]) -> Mapping[str, str]:
        calls.append(customer_ids)
        message = "status 503"
        raise Later(message)

    directory = AskedDirectory(away, Time().pace.monotonic)
    for _ in range(2):
        with pytest.raises(Later):
            directory.lookup(["ann"])

    assert len(calls) == 2
