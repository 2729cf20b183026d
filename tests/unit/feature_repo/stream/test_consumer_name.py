from __future__ import annotations

import os
import subprocess
import sys

import pytest

from feature_repo.stream.consumer_name import is_gone, process_name

_SAYS_ITS_NAME = """
from feature_repo.stream.consumer_name import process_name
print(process_name("online"), flush=True)
input()
"""


def test_a_process_is_gone_when_it_ended_and_not_before() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SAYS_ITS_NAME],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert not is_gone(name)
        process.kill()

    assert is_gone(name)


def test_a_process_id_that_was_given_away_again_is_another_process() -> None:
    machine = process_name("x").rsplit("/", 3)[0]

    assert is_gone(f"{machine}/{os.getpid()}/1/x")


@pytest.mark.parametrize("name", ["", "online", "host/1/2", "a/b/c/d/e", "host/x/y/online"])
def test_names_of_other_forms_and_machines_are_never_gone(name: str) -> None:
    assert not is_gone(name)
