"""`foresend import` as its user meets it: exit codes, one line of JSON, no stack trace."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

GOOD = "type,customer_id,event_time,amount\npurchased,c1,2024-03-04T10:00:00Z,5\n"
HISTORY = ("--known-at", "event_time+2h")


def foresend(home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    program = "from infra.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        env={**os.environ, "FORESEND_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_last_line_is_the_result(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD + "purchased,c2,2024-03-04T10:00:00Z,nan\n")

    done = foresend(tmp_path / "home", "import", tmp_path / "a.csv", *HISTORY, "--json")

    assert done.returncode == 0
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["files"] == [str(tmp_path / "a.csv")]
    counted = {"rows": 2, "events": 1, "known": 0, "quarantined": 1, "skipped": 0, "customers": 1}
    assert counted == {name: result[name] for name in counted}
    assert result["version"] == 0
    assert Path(result["quarantine"]).exists()
    assert "reading a.csv" in done.stderr


@pytest.mark.parametrize(
    ("content", "words", "told"),
    [
        ("", HISTORY, "is empty"),
        ("a,b\n1,2\n", HISTORY, "no column 'type'"),
        (GOOD, (), "--known-at"),
        (GOOD, ("--known-at", "someday"), "'someday' is not understood"),
        (GOOD, ("--mapping", "absent.yaml", *HISTORY), "absent.yaml"),
        (GOOD.replace(",5", ",nan"), HISTORY, "no row can become an event"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence_and_exit_code_2(
    tmp_path: Path, content: str, words: tuple[str, ...], told: str
) -> None:
    (tmp_path / "a.csv").write_text(content)

    done = foresend(tmp_path / "home", "import", tmp_path / "a.csv", *words)

    assert done.returncode == 2
    assert told in re.sub(r"\s+", " ", done.stderr)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home" / "log").exists()


def test_the_documented_sample_is_importable(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "events.md"
    sample = page.read_text().split("```json\n")[1].split("```")[0]
    (tmp_path / "sample.jsonl").write_text(sample)

    done = foresend(tmp_path / "home", "import", tmp_path / "sample.jsonl", "--json")

    assert json.loads(done.stdout.splitlines()[-1])["events"] == 3
