"""A build killed at any moment and run again leaves what an undisturbed one leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.history.building import Installation, digests
from tests.integration.history.histories import START, THROUGH, Row, row

pytestmark = [
    pytest.mark.integration,
    # Ibis 12 calls it on DuckDB 2.
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]
DAY = timedelta(days=1)

KILLED_AT_STEP = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from feature_repo.history.build import build
from feature_repo.settings import Settings

left = int(sys.argv[2])

def kill(step, share):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

settings = Settings(home=Path(sys.argv[1]), duckdb_threads=1)
build(settings, through=datetime.fromisoformat(sys.argv[3]), progress=kill)
"""


def history(first: int, last: int) -> list[Row]:
    """Three customers' clicks and purchases, one each day."""
    return [
        row(
            f"{customer}{kind}{day}",
            customer,
            type=kind,
            event_time=START + day * DAY + timedelta(hours=5),
            amount=1.25 if kind == "purchased" else None,
            country="NO" if day % 2 else "SE",
        )
        for day in range(first, last)
        for customer in ("ann", "bob", "eve")
        for kind in ("clicked", "purchased")
    ]


def late() -> list[Row]:
    """New days, an event known long ago, and a withdrawal: appends and a replacement."""
    return [
        *history(6, 9),
        row("backfill", "ann", type="clicked", event_time=START + DAY),
        row("bobclicked2", "bob", op="retract", received_time=START + 8 * DAY),
    ]


def build_killed(installation: Installation, step: int) -> bool:
    """Build in a process that is killed at a step; False when it ended before that step."""
    arguments = [str(installation.settings.home), str(step), THROUGH.isoformat()]
    done = subprocess.run([sys.executable, "-c", KILLED_AT_STEP, *arguments], check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    return done.returncode != 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    installation = Installation(tmp_path_factory.mktemp("undisturbed"))
    installation.append(history(0, 6))
    installation.append(late())
    installation.build(full=True)
    return installation


# Steps 1 and 2 lie before any table; the third is inside the first table; the others alternate
# between just after a bucket was written and just after a table was committed.
@pytest.mark.parametrize("step", [1, 5, 6, 10])
def test_rerunning_a_killed_build_equals_an_undisturbed_one(
    step: int, tmp_path: Path, undisturbed: Installation
) -> None:
    installation = Installation(tmp_path)
    installation.append(history(0, 6))
    installation.build(through=START + 6 * DAY)
    installation.append(late())
    assert build_killed(installation, step)
    assert digests(installation.build()) == digests(undisturbed.build())
    assert installation.contents() == undisturbed.contents()


def test_rerunning_a_killed_first_build_equals_an_undisturbed_one(
    tmp_path: Path, undisturbed: Installation
) -> None:
    installation = Installation(tmp_path)
    installation.append(history(0, 6))
    installation.append(late())
    assert build_killed(installation, 6)
    assert digests(installation.build()) == digests(undisturbed.build())


def test_a_build_killed_at_any_time_can_be_rerun(tmp_path: Path, undisturbed: Installation) -> None:
    installation = Installation(tmp_path)
    installation.append(history(0, 6))
    installation.append(late())
    for tenths in (12, 16, 20, 24):
        arguments = [str(installation.settings.home), "0", THROUGH.isoformat()]
        process = subprocess.Popen([sys.executable, "-c", KILLED_AT_STEP, *arguments])
        try:
            process.wait(timeout=tenths / 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert digests(installation.build()) == digests(undisturbed.build())
